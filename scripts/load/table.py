"""What a run prints in the end."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

BUSY = 0.9  # of a core: from here on it is a load process that is measured
WAITED = 0.1  # of the time: latencies are the machine's then


def tables(figures: Mapping[str, Any]) -> RenderableType:
    parts: list[RenderableType] = [
        _latencies(figures),
        "",
        _phases(figures),
        "",
        _findings(figures),
    ]
    parts += [Text(line, style="yellow") for line in warnings(figures)]
    return Stack("", *parts)


def warnings(figures: Mapping[str, Any]) -> list[str]:
    """What makes the figures doubtful."""
    found = [f"incident: {incident}" for incident in figures["incidents"]]
    for phase in figures["phases"]:
        found += [
            f"{phase['name']}: {name} used {share:.0%} of a core, so it may be what was measured"
            for name, share in phase["load_processes"].items()
            if share > BUSY and phase["measured"]
        ]
        found += [
            f"{phase['name']}: others had the cores for {share:.0%} of the time while {name} waited"
            for name, share in phase["kept_waiting"].items()
            if share > WAITED and phase["measured"]
        ]
        if phase["refused"]:
            refused = ", ".join(f"{count:,} by {why}" for why, count in phase["refused"].items())
            found.append(f"{phase['name']}: posts were refused: {refused}")
    load, cores = figures["load_average"]["before"][0], figures["machine"]["cores"]
    if load > 0.5:
        found.append(f"the machine was busy before: load average {load:.1f} on {cores} cores")
    if figures["workload"]["scaled_down"]:
        sizes = ", ".join(f"{size:,}" for size, _ in figures["workload"]["big_authors"])
        found.append(f"fewer than 10,000 people: big authors have {sizes} friends instead")
    return found


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table


def _latencies(figures: Mapping[str, Any]) -> Table:
    table = _table(
        "From due to received (ms)", "", "count", "p50", "p90", "p99", "p99.9", "max", "missing"
    )
    for phase in figures["phases"]:
        if not phase["measured"]:
            continue
        for row in phase["latencies"]:
            name = f"{phase['name']}: {row['group']}" + (
                f", {row['posts']}" if row["posts"] else ""
            )
            cuts = [
                f"{row[cut]:,.1f}" for cut in ("p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms")
            ]
            missing = f"{row['missing']:,}" if "missing" in row else ""
            table.add_row(name, f"{row['count']:,}", *cuts, missing)
    return table


def _phases(figures: Mapping[str, Any]) -> Table:
    table = _table("CPU of a delivery (µs)", "", "deliveries", "per second", "all", "by process")
    for phase in figures["phases"]:
        if phase["measured"]:
            costs = phase["cpu_us"]
            table.add_row(
                phase["name"],
                f"{phase['delivered']:,}",
                f"{phase['delivered'] / phase['seconds']:,.0f}",
                f"{sum(costs.values()):,.1f}" if costs else "not seen",
                ", ".join(f"{name} {cost:,.1f}" for name, cost in costs.items()),
            )
    return table


def _findings(figures: Mapping[str, Any]) -> Table:
    table = _table("Findings", "", "baseline", "value", "ratio", "bar", "")
    for one in figures["findings"]:
        baseline = "" if one["baseline"] is None else f"{one['baseline']:,.2f}"
        ratio = "" if one["ratio"] is None else f"{one['ratio']:.2f}"
        bar = "" if one["bar"] is None else f"≤ {one['bar']:,g}"
        verdict = {True: Text("met", "green"), False: Text("missed", "red"), None: ""}[one["met"]]
        table.add_row(
            one["what"], baseline, f"{one['value']:,.2f} {one['unit']}", ratio, bar, verdict
        )
    return table
