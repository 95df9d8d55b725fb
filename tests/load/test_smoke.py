"""The whole command, on a service of its own for five seconds, and on one that runs already."""

import asyncio
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvloop

from scripts.load.service import OwnService

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "scripts/load_test.py", "steady", "--rate", "200", "--people", "60")
PATIENCE_S = 90.0
pytestmark = pytest.mark.timeout(150)  # seconds of load, and what a busy machine adds


@dataclass(frozen=True, slots=True)
class Run:
    """What one run has left: what it printed, its report, and where it had its store and logs."""

    printed: str
    report: Path
    temporary: Path

    @property
    def figures(self) -> dict[str, Any]:
        return json.loads((self.report / "report.json").read_text())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """Both at once, which is shorter; and what a run prints on standard error fails it."""
    return uvloop.run(run_both(tmp_path_factory.mktemp("load")))


async def run_both(directory: Path) -> tuple[Run, Run]:
    own = asyncio.create_task(load(directory / "own", ["--seconds", "5", "--warm-up", "0.5"]))
    (directory / "service").mkdir()
    async with OwnService(directory / "service", {"lease_s": "5"}, gateways=2) as service:
        await service.start("worker-1")
        (pid,) = {service.pids()["worker-1"]}
        where = ["--url", service.api, "--pid", str(pid), "--seconds", "1.5", "--warm-up", "0"]
        for gateway in service.gateways:
            where += ["--gateway-url", gateway]
        given = await load(directory / "given", where, MOMENTS_ADMIN_KEY=service.key)
        assert service.incidents == []
    return await own, given


async def load(directory: Path, arguments: Sequence[str], **environment: str) -> Run:
    temporary, report = directory / "t", directory / "report"
    temporary.mkdir(parents=True)
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, *arguments, "--out", str(report)),
        cwd=ROOT,
        env={**os.environ, **environment, "TMPDIR": str(temporary)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            printed, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    assert (process.returncode, complaints.decode()) == (0, "")
    return Run(printed.decode(), report, temporary)


@pytest.fixture
def own(runs: tuple[Run, Run]) -> Run:
    return runs[0]


@pytest.fixture
def given(runs: tuple[Run, Run]) -> Run:
    return runs[1]


@pytest.mark.parametrize("number", [0, 1])
def test_everything_owed_has_come(runs: tuple[Run, Run], number: int):
    report = runs[number].figures
    phase = report["phases"][-1]
    assert phase["measured"]
    assert phase["accepted"] == phase["posts"] > 0
    counts = {row["group"]: row for row in phase["latencies"]}
    for group in ("healthy", "relay", "socket"):
        assert counts[group]["missing"] == 0
        assert counts[group]["count"] > 0
    assert counts["accepted"]["count"] == phase["posts"]
    assert report["incidents"] == []
    assert report["sockets"]["open"] == 6
    assert report["sockets"]["out_of_order"] == 0
    assert report["sockets"]["others"] == {}


def test_cpu_memory_and_queues_of_every_process_are_told(own: Run):
    report = own.figures
    processes = {"store", "api", "gateway-1", "worker-1"}
    assert set(report["phases"][-1]["cpu_us"]) == processes
    row = report["timeline"][-1]
    assert set(row["memory_mb"]) == processes
    assert all(megabytes > 1 for megabytes in row["memory_mb"].values())
    assert set(row["queues"]) == {"posts", "deliveries", "redeliveries", "retries", "dead"}
    assert set(row["load_processes"]) == {"poster", "receivers", "sockets"}
    assert report["phases"][-1]["attempts"]["ok"] > 0
    assert sum(row["webhooks_per_s"] for row in report["timeline"]) > 0
    assert sum(row["frames_per_s"] for row in report["timeline"]) > 0


def test_of_a_running_service_the_processes_that_were_named_are_measured(given: Run):
    assert set(given.figures["timeline"][-1]["memory_mb"]) == {"worker"}


def test_what_is_needed_to_run_it_again_is_told(own: Run):
    report = own.figures
    assert report["command"].startswith("python scripts/load_test.py steady --rate 200")
    assert report["machine"]["cores"] == os.cpu_count()
    assert report["workload"]["scaled_down"] is True
    assert report["workload"]["people"] == 60


def test_the_page_has_its_charts_and_needs_nothing_from_elsewhere(own: Run):
    page = (own.report / "report.html").read_text()
    titles = re.findall(r"<figcaption>([^<]*)", page)
    assert {"Latency to webhooks ", "Latency to sockets ", "Throughput ", "Memory "} <= set(titles)
    assert not re.findall(r"(?:src|href)\s*=|@import|url\(|https?://(?!127\.)", page)


def test_the_tables_are_printed(own: Run):
    for title in ("From due to received (ms)", "CPU of a delivery (µs)", "Findings"):
        assert title in own.printed
    assert "fewer than 10,000 people" in own.printed


def test_endpoints_are_taken_out_of_a_service_that_goes_on(given: Run):
    assert "remove endpoints                   54 of 54" in given.printed


def test_nothing_is_left(own: Run):
    """No store, no logs, and no process that knows of them."""
    assert not list(own.temporary.iterdir())
    place = str(own.temporary).encode()
    left = [
        file.parent.name
        for file in Path("/proc").glob("[0-9]*/cmdline")
        if place in file.read_bytes()
    ]
    assert left == []
