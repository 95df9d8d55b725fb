"""The figures of a run as plain data: what `report.json` holds, and the page is drawn from."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from scripts.load.arrivals import Kind
from scripts.load.groups import Group
from scripts.load.histogram import ACCEPTED
from scripts.load.results import Phase, busiest, cpu_us_per_delivery, kept_waiting
from scripts.load.run import Outcome
from scripts.load.stage import Stage
from scripts.load.watch import Look

ROW_S = 0.9
COST_ROWS = 5  # over which CPU is divided by deliveries: there may be few in one
_KINDS = {Kind.PROBE: "posts to 100", Kind.CELEBRITY: "posts to all"}
_WEBHOOKS = (Group.HEALTHY, Group.RELAY)


def figures(outcome: Outcome, command: str) -> dict[str, Any]:
    stage = outcome.stage
    begin_us = stage.watch.looks[0].at_us if stage.watch.looks else 0
    return {
        "scenario": outcome.scenario.name,
        "about": outcome.scenario.about,
        "command": command,
        "started_at": outcome.started_at,
        "took_s": round(outcome.took_s, 1),
        "machine": dict(outcome.machine),
        "load_average": {"before": outcome.load_average[0], "after": outcome.load_average[1]},
        "service": outcome.options.url or "its own",
        "settings": {**outcome.scenario.settings, **outcome.options.settings},
        "workload": stage.workload.describe(),
        "rate": outcome.options.rate,
        "seed": outcome.options.seed,
        "findings": [finding.as_json() for finding in outcome.findings],
        "phases": [_phase(stage, phase, begin_us) for phase in stage.phases],
        "receivers": _last(stage).groups if stage.watch.looks else {},
        "sockets": _last(stage).sockets if stage.watch.looks else {},
        "incidents": stage.service.incidents,
        "timeline": _timeline(stage.watch.looks, begin_us),
        "latency": _latency(stage, begin_us),
    }


def _last(stage: Stage) -> Look:
    return stage.watch.looks[-1]


def _phase(stage: Stage, phase: Phase, begin_us: int) -> dict[str, Any]:
    return {
        "name": phase.name,
        "measured": phase.is_measured,
        "began_s": round((phase.began_us - begin_us) / 1e6, 3),
        "seconds": phase.seconds,
        "asked_per_s": phase.deliveries_per_s,
        "posts": phase.posts,
        "accepted": phase.accepted,
        "refused": dict(phase.refused),
        "delivered": phase.delivered,
        "cpu_us": _rounded(phase.cpu_us()),
        "attempts": _attempts(phase),
        "kept_waiting": _rounded(kept_waiting(phase.before, phase.after)),
        "load_processes": {
            name: round(share, 3) for name, share in busiest(phase.before, phase.after)
        },
        "latencies": _latencies(stage, phase),
    }


def _attempts(phase: Phase) -> dict[str, int]:
    """Requests of the senders by result, as their metrics tell."""
    return {
        name.removeprefix("attempts."): round(_grown(phase.before, phase.after, name))
        for name in phase.after.metrics
        if name.startswith("attempts.")
    }


def _latencies(stage: Stage, phase: Phase) -> list[dict[str, Any]]:
    """By group, the everyday mix apart from what was posted for a comparison."""
    rows: list[dict[str, Any]] = []
    for group in stage.latencies.groups(phase.number):
        for words, kinds in (
            ("", [kind for kind in Kind if kind not in _KINDS]),
            *((words, [kind]) for kind, words in _KINDS.items()),
        ):
            summary = stage.latency([phase], [group], kinds)
            if summary.count:
                row = {"group": group, "posts": words, **summary.as_json()}
                rows.append(row)
        expected = phase.expected[group]
        if group != ACCEPTED and rows:
            rows[-1]["missing"] = max(0, expected - stage.latencies.count(phase.number, group))
    return rows


def _timeline(looks: Sequence[Look], begin_us: int) -> list[dict[str, Any]]:
    """One row for each pair of looks that are not too close: what happened between them."""
    rows: list[dict[str, Any]] = []
    kept = list(looks[:1])
    for look in looks[1:]:
        seconds = (look.at_us - kept[-1].at_us) / 1e6
        if seconds < ROW_S:
            continue
        row = _row(kept[-1], look, seconds, begin_us)
        kept.append(look)
        earlier = kept[max(0, len(kept) - 1 - COST_ROWS)]
        row["kept_waiting"] = _rounded(kept_waiting(kept[-2], look))
        row["cpu_us"] = _rounded(cpu_us_per_delivery(earlier, look))
        rows.append(row)
    return rows


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in values.items()}


def _row(before: Look, after: Look, seconds: float, begin_us: int) -> dict[str, Any]:
    cpu = {
        name: used.cpu_s - before.usage[name].cpu_s
        for name, used in after.usage.items()
        if name in before.usage
    }
    return {
        "at_s": round((after.at_us - begin_us) / 1e6, 3),
        "posts_per_s": round((after.posts - before.posts) / seconds, 1),
        "webhooks_per_s": round(
            (after.counted("accepted") - before.counted("accepted")) / seconds, 1
        ),
        "frames_per_s": round((after.frames - before.frames) / seconds, 1),
        "retries_per_s": round((after.counted("retries") - before.counted("retries")) / seconds, 1),
        "deferred_per_s": round(_grown(before, after, "deferred") / seconds, 1),
        "cores": {name: round(used_s / seconds, 4) for name, used_s in cpu.items()},
        "memory_mb": {name: round(used.rss_bytes / 1e6, 1) for name, used in after.usage.items()},
        "queues": dict(after.queues),
        "lanes": {
            name: after.metrics[name]
            for name in ("attempts_open", "attempts_slow", "deliveries_waiting")
            if name in after.metrics
        },
        "load_processes": {
            name: round((used.cpu_s - before.ours[name].cpu_s) / seconds, 3)
            for name, used in after.ours.items()
            if name in before.ours
        },
    }


def _grown(before: Look, after: Look, metric: str) -> float:
    """Less than before means that a worker has ended, or begun again."""
    return max(0.0, after.metrics.get(metric, 0) - before.metrics.get(metric, 0))


def _latency(stage: Stage, begin_us: int) -> dict[str, list[dict[str, Any]]]:
    """By the second in which the posts were due."""
    begin_s = begin_us // 1_000_000
    return {
        name: [
            {"at_s": second - begin_s, **summary.as_json()}
            for second, summary in stage.latencies.seconds(groups).items()
        ]
        for name, groups in (
            ("webhooks", _WEBHOOKS),
            ("sockets", (Group.SOCKET,)),
            ("api", (ACCEPTED,)),
        )
    }


def bands(figures: Mapping[str, Any]) -> list[tuple[float, float, str]]:
    """The phases: from, to, name."""
    found = [
        (one["began_s"], one["began_s"] + one["seconds"], one["name"]) for one in figures["phases"]
    ]
    # Names over narrow neighbours would overlap; a repeated one says nothing new.
    return [found[0], *(b for a, b in pairwise(found) if a[2] != b[2])] if found else []
