"""What the demo shows in the end."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from math import isnan

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from app.demo.figures import Latency, groups, latencies, specials
from app.demo.verdict import Evidence

_COMPLAINTS_MAX = 20
_MEANING = {
    ("socket", "delivered"): "written to an open socket",
    ("socket", "pending"): "in an inbox, for whoever comes",
    ("webhook", "delivered"): "answered with 2xx",
    ("webhook", "dead"): "given up, replayable",
    ("webhook", "pending"): "parked: the endpoint is disabled",
}
_FOR_REAL = """\
Start it for real:
  moments up --data ./data      starts all of it; prints an admin key and what to try
  moments listen --port 9000    a receiver that checks signatures
  moments tail --user bob       a socket"""


def show(console: Console, evidence: Evidence, found: Sequence[str], took_s: float) -> None:
    """The tables and the verdict."""
    console.print(
        Group(
            "",
            _deliveries(evidence),
            "",
            _latencies(latencies(evidence)),
            "",
            _specials(evidence),
            "",
            _verdict(evidence, found, took_s),
        )
    )


def json_report(evidence: Evidence, found: Sequence[str], took_s: float) -> str:
    """The same for programs, in one line; a latency that nobody had is null."""
    names = ("receiver", "posts", "requests", "became")
    told = {
        "ok": not found,
        "complaints": list(found),
        "took_s": round(took_s, 1),
        "deliveries": [asdict(group) for group in groups(evidence)],
        "latencies": [_without_nan(asdict(latency)) for latency in latencies(evidence)],
        "receivers": [dict(zip(names, row, strict=True)) for row in specials(evidence)],
    }
    return json.dumps(told)


def _without_nan(fields: dict[str, object]) -> dict[str, object]:
    return {
        name: None if isinstance(one, float) and isnan(one) else one for name, one in fields.items()
    }


def show_next(console: Console) -> None:
    console.print(f"\n{_FOR_REAL}", highlight=False, soft_wrap=True)


def _table(title: str, *columns: str) -> Table:
    """The first column holds text, the others figures; what comes last may be text again."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    return table


def _deliveries(evidence: Evidence) -> RenderableType:
    table = _table("Deliveries", "channel and state", "deliveries", "attempts")
    table.add_column("", style="dim", no_wrap=True)
    for group in groups(evidence):
        meaning = _MEANING.get((group.channel, group.state), "")
        name = f"{group.channel} {group.state}"
        table.add_row(name, f"{group.deliveries:,}", f"{group.attempts:,}", meaning)
    return table


def _latencies(found: Sequence[Latency]) -> RenderableType:
    table = _table(
        "From accepted to received (ms)", "", "deliveries", "p50", "p95", "p99", "longest"
    )
    for latency in found:
        times = (latency.p50_ms, latency.p95_ms, latency.p99_ms, latency.max_ms)
        shown = ["-" if isnan(time) else f"{time:,.1f}" for time in times]
        table.add_row(latency.what, f"{latency.count:,}", *shown)
    return table


def _specials(evidence: Evidence) -> RenderableType:
    table = _table("Receivers that are not well", "a receiver that", "posts", "requests")
    table.add_column("became", no_wrap=True)
    for manner, posts, requests, states in specials(evidence):
        table.add_row(manner, str(posts), str(requests), states)
    return table


def _verdict(evidence: Evidence, found: Sequence[str], took_s: float) -> Text:
    posts = len(evidence.accounts)
    recipients = sum(len(account.of("socket")) for account in evidence.accounts)
    drops = sum(client.drops for client in evidence.clients.values())
    if not found:
        return Text.assemble(
            ("✓ ", "bold green"),
            f"{posts} posts to {recipients:,} recipients, {drops} sockets cut and back: ledger, "
            f"receivers and sockets agree. {took_s:.1f} s.",
        )
    shown = [f"\n  {complaint}" for complaint in found[:_COMPLAINTS_MAX]]
    more = len(found) - len(shown)
    return Text.assemble(
        ("✗ ", "bold red"),
        f"{len(found)} things are not as expected:",
        *shown,
        f"\n  and {more} more" if more > 0 else "",
    )
