"""All benchmarks, by name: what each measures, and how long it takes."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.bench import fan_out, gateway, pipeline, retry_lateness, scaling
from scripts.bench.row import Row

REPORTS = Path("reports") / "bench"

Measure = Callable[[], Awaitable[Sequence[Row]]]


@dataclass(frozen=True, slots=True)
class Bench:
    """`minutes`: about how long it takes."""

    about: str
    minutes: float
    measure: Measure


class BenchFailed(Exception):
    """A benchmark was not run to its end, so that there is no figure."""


async def _run(*command: str, may_be: Sequence[int] = (0,)) -> None:
    """Raises BenchFailed. What it prints goes where ours goes."""
    process = await asyncio.create_subprocess_exec(sys.executable, *command)
    try:
        status = await process.wait()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
    if status not in may_be:
        raise BenchFailed(f"`python {' '.join(command)}` ended with {status}")


def load_test(scenario: str, *options: str, **rows: tuple[str, str]) -> Measure:
    """Rows from findings of a load test: name of the row to the finding, and what to call it."""

    async def measure() -> list[Row]:
        out = REPORTS / scenario
        arguments = ("scripts/load_test.py", scenario, *options)
        await _run(*arguments, "--out", str(out), may_be=(0, 1))  # 1: a bar was missed
        findings = json.loads((out / "report.json").read_text())["findings"]
        return [
            _row(name.replace("_", "-"), words, findings, finding, " ".join(arguments))
            for name, (finding, words) in rows.items()
        ]

    return measure


def _row(
    name: str, what: str, findings: Sequence[Mapping[str, Any]], finding: str, command: str
) -> Row:
    [found] = [one for one in findings if one["what"] == finding]
    return Row(
        name=name,
        what=what,
        value=found["value"],
        unit=found["unit"],
        source=f"python {command}",
        bar=found["bar"],
        baseline=found["baseline"],
    )


async def scaled() -> list[Row]:
    """Draws its plot beside the page of the table."""
    return await scaling.measure(drawn=Path("docs") / "scaling.svg")


async def lost() -> list[Row]:
    """One minute of chaos."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    report = REPORTS / "chaos.json"
    arguments = ("-m", "scripts.chaos", "--minutes", "1")
    await _run(*arguments, "--json", str(report), may_be=(0, 1))
    figures = json.loads(report.read_text())
    return [
        Row(
            name="lost",
            what="lost with processes killed at random for a minute",
            value=sum(one["lost"] for one in figures["channels"].values()),
            unit="deliveries",
            source=f"python {' '.join(arguments)}",
            bar=0,
        )
    ]


SUITE: Mapping[str, Bench] = {
    "gateway": Bench("a gateway alone, beside other push servers", 1.5, gateway.measure),
    "pipeline": Bench("from post to socket and webhook, all processes", 3, pipeline.measure),
    "fan-out": Bench("from post to inboxes, ledger and streams", 3, fan_out.measure),
    "retry-lateness": Bench("how late retries are", 0.2, retry_lateness.measure),
    "push": Bench(
        "10,000 deliveries a second to sockets",
        1,
        load_test(
            "push",
            push=("p99 to sockets", "post → socket at 10,000 deliveries/s, p99"),
        ),
    ),
    "celebrity": Bench(
        "posts to 100 while posts to 10,000 are fanned out",
        5,
        load_test(
            "celebrity",
            celebrity_sockets=(
                "p99 of posts to 100, sockets",
                "p99 of a post to 100 beside one to 10,000, against alone: sockets",
            ),
            celebrity_webhooks=(
                "p99 of posts to 100, webhooks",
                "the same: webhooks",
            ),
        ),
    ),
    "hanging": Bench(
        "healthy endpoints while a tenth hangs",
        8,
        load_test(
            "hanging",
            *("--cycles", "4", "--seconds", "320"),
            hanging=(
                "p99 to healthy endpoints",
                "p99 to healthy endpoints with a tenth hanging, against none",
            ),
        ),
    ),
    "backlog": Bench(
        "1,000,000 deliveries waiting",
        6,
        load_test(
            "backlog",
            backlog=(
                "CPU of a delivery with 1,000,000 waiting, against 50,000",
                "cost of a delivery with 1,000,000 waiting, against 50,000",
            ),
        ),
    ),
    "scaling": Bench("few and many friends, sockets, workers and gateways", 5, scaled),
    "steady": Bench(
        "the everyday mix for a minute",
        1.3,
        load_test(
            "steady",
            steady_sockets=("p99 to sockets, steady", "the everyday mix, p99 to sockets"),
            steady_webhooks=(
                "p99 to healthy webhooks, steady",
                "the everyday mix, p99 to healthy webhooks",
            ),
        ),
    ),
    "tls": Bench(
        "2,000 https endpoints",
        2,
        load_test(
            "tls",
            tls_handshakes=(
                "handshakes per 1,000 deliveries, kept",
                "2,000 https endpoints, handshakes per 1,000 deliveries",
            ),
            tls_cpu=("CPU of a delivery, kept", "the same, CPU of a delivery"),
            tls_handshakes_dropped=(
                "handshakes per 1,000 deliveries, dropped every 10 s",
                "the same with connections dropped every 10 s, handshakes",
            ),
            tls_resumed_dropped=(
                "of these with a session resumed, dropped every 10 s",
                "of these with a session resumed",
            ),
        ),
    ),
    "lost": Bench("a minute of chaos", 2, lost),
}
