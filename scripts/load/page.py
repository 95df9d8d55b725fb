"""`report.html`: one file with everything in it."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from scripts.load.chart import Line, chart
from scripts.load.figures import bands

_STYLE = Path(__file__).with_name("page.css")
_SCRIPT = Path(__file__).with_name("page.js")
_CUTS = ("p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms")

Rows = Sequence[Mapping[str, Any]]


def page(figures: Mapping[str, Any]) -> str:
    title = f"Load test: {figures['scenario']}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE.read_text()}</style></head><body>"
        f"<h1>{escape(title)}</h1><p>{escape(figures['about'])}</p>"
        f"{_circumstances(figures)}"
        f"<h2>Findings</h2>{_findings(figures['findings'])}"
        f'<h2>Over time</h2><div class="charts">{"".join(_charts(figures))}</div>'
        f"<h2>Phases</h2>{_phases(figures['phases'])}"
        f"<h2>Latencies</h2><p>{_LATENCY_WORDS}</p>{_latencies(figures['phases'])}"
        f"<script>{_SCRIPT.read_text()}</script></body></html>\n"
    )


_LATENCY_WORDS = (
    "Milliseconds from the moment at which the post was due, drawn beforehand, to the moment at "
    "which the request or the frame had come; `accepted` is the answer of the api to the poster."
)


def _circumstances(figures: Mapping[str, Any]) -> str:
    machine, work, load = figures["machine"], figures["workload"], figures["load_average"]
    scaled = " (scaled down: fewer people than the biggest needs)" if work["scaled_down"] else ""
    big = ", ".join(f"{share:.2%} with {size:,}" for size, share in work["big_authors"])
    groups = ", ".join(f"{count:,} {name}" for name, count in work["groups"].items())
    settings = ", ".join(f"{name}={value}" for name, value in figures["settings"].items())
    return _definitions(
        {
            "Command": figures["command"],
            "Run": f"{figures['started_at']}, {figures['took_s']:,.0f} s in all",
            "Machine": f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, "
            f"Python {machine['python']}; load average {_average(load['before'])} before, "
            f"{_average(load['after'])} after",
            "Service": figures["service"] + (f" with {settings}" if settings else ""),
            "People": f"{work['people']:,}: {groups}",
            "Circles": f"{work['authors']:,} authors with {work['friends_median']:,} friends in "
            f"the median, {work['friends_mean']:,} on average; of all posts {big}{scaled}",
            "Incidents": "; ".join(figures["incidents"]) or "none",
        }
    )


def _average(load: Sequence[float]) -> str:
    return f"{load[0]:.1f}"


def _definitions(entries: Mapping[str, str]) -> str:
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in entries.items())
    return f"<dl>{items}</dl>"


def _findings(findings: Rows) -> str:
    marks = {True: '<b class="met">met</b>', False: '<b class="missed">missed</b>', None: ""}
    rows = [
        [
            escape(one["what"]),
            _number(one["baseline"]),
            f"{_number(one['value'])} {escape(one['unit'])}",
            _number(one["ratio"]),
            "" if one["bar"] is None else f"≤ {_number(one['bar'])}",
            marks[one["met"]],
        ]
        for one in findings
    ]
    return _table(["", "baseline", "value", "ratio", "bar", ""], rows)


def _phases(phases: Rows) -> str:
    rows = [
        [
            escape(one["name"] + ("" if one["measured"] else " (not measured)")),
            f"{one['seconds']:g} s",
            f"{one['asked_per_s']:,.0f}/s",
            f"{one['accepted']:,} of {one['posts']:,}",
            f"{one['delivered']:,}",
            f"{one['delivered'] / one['seconds']:,.0f}/s",
            escape(", ".join(f"{n:,} {result}" for result, n in one["attempts"].items() if n)),
            f"{sum(one['cpu_us'].values()):,.1f}",
            escape(", ".join(f"{name} {cost:,.1f}" for name, cost in one["cpu_us"].items())),
            escape(", ".join(f"{n} {share:.0%}" for n, share in one["load_processes"].items())),
        ]
        for one in phases
    ]
    heads = ["", "length", "asked for", "posts accepted", "deliveries", "came", "requests"]
    return _table([*heads, "CPU µs each", "by process", "load processes, of a core"], rows)


def _latencies(phases: Rows) -> str:
    rows = [
        [
            escape(phase["name"]),
            escape(one["group"] + (f", {one['posts']}" if one["posts"] else "")),
            f"{one['count']:,}",
            *(_number(one[cut]) for cut in _CUTS),
            f"{one['missing']:,}" if "missing" in one else "",
        ]
        for phase in phases
        for one in phase["latencies"]
    ]
    heads = ["phase", "group", "count", "p50", "p90", "p99", "p99.9", "max", "missing"]
    return _table(heads, rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 1000 or value == int(value) else f"{value:,.3g}"


def _charts(figures: Mapping[str, Any]) -> Iterable[str]:
    rows, latency, marked = figures["timeline"], figures["latency"], bands(figures)
    for channel in ("webhooks", "sockets", "api"):
        lines = [
            Line(cut.removesuffix("_ms").replace("p999", "p99.9"), _points(latency[channel], cut))
            for cut in _CUTS
            if cut != "p90_ms"
        ]
        title = "Answers of the api" if channel == "api" else f"Latency to {channel}"
        yield chart(title, "ms", lines, marked, is_log=True)
    yield chart(
        "Throughput",
        "per second",
        [
            Line("webhooks", _points(rows, "webhooks_per_s")),
            Line("frames", _points(rows, "frames_per_s")),
            Line("posts", _points(rows, "posts_per_s")),
        ],
        marked,
    )
    yield chart("CPU of a delivery", "µs", _by_name(rows, "cpu_us"), marked)
    yield chart("CPU", "cores", _by_name(rows, "cores"), marked)
    waits = _by_name(rows, "kept_waiting")
    yield chart("Kept waiting for a core", "share of the time", waits, marked)
    yield chart("Queues", "entries", _by_name(rows, "queues"), marked)
    yield chart("Senders", "requests, deliveries", _by_name(rows, "lanes"), marked)
    retried = [
        Line("retries received", _points(rows, "retries_per_s")),
        Line("put off", _points(rows, "deferred_per_s")),
    ]
    yield chart("Retries", "per second", retried, marked)
    yield chart("Memory", "MB", _by_name(rows, "memory_mb"), marked)
    yield chart("Load processes", "cores", _by_name(rows, "load_processes"), marked)


def _points(rows: Rows, field: str) -> list[tuple[float, float]]:
    return [(row["at_s"], row[field]) for row in rows]


def _by_name(rows: Rows, field: str) -> list[Line]:
    names = dict.fromkeys(name for row in rows for name in row[field])
    return [
        Line(name, [(row["at_s"], row[field][name]) for row in rows if name in row[field]])
        for name in names
    ]
