"""What a PromQL expression asks for: series with their matchers, and the labels it groups by."""

import re
from dataclasses import dataclass

from app.metric import Metric
from app.metric_names import METRICS

# What Prometheus adds to what it scrapes.
ADDED = frozenset({"job", "instance"})
# Of Prometheus' Python client, in every process.
OF_CLIENT = frozenset({"process_cpu_seconds_total", "process_resident_memory_bytes"})
OF_PROMETHEUS = frozenset({"up"})

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_GROUPING = re.compile(
    r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", re.IGNORECASE
)
_MATCHERS = re.compile(r"\{([^}]*)\}")
_RANGE = re.compile(r"\[[^\]]*\]")
_NAME = re.compile(r"(?<![\w$.])([a-zA-Z_:][\w:]*)(\s*\()?(\{[^}]*\})?")
_WORDS = frozenset({"and", "or", "unless", "bool", "offset", "inf", "nan"})


@dataclass(frozen=True)
class Asked:
    """`series`: sample name and the labels that are matched. `groups`: labels grouped by."""

    series: tuple[tuple[str, frozenset[str]], ...]
    groups: frozenset[str]


def parse(expr: str) -> Asked:
    """Of the PromQL that dashboards and alerts are written in: no comments, no strings elsewhere
    than in matchers."""
    bare = _RANGE.sub("", _STRING.sub('""', expr))
    groups = {
        label.strip() for clause in _GROUPING.findall(bare) for label in clause.split(",") if label
    }
    bare = _GROUPING.sub("", bare)
    series = [
        (name, frozenset(re.findall(r"(\w+)\s*[=!]", matchers)))
        for name, call, matchers in _NAME.findall(_hide_matched(bare))
        if not call and name.lower() not in _WORDS
    ]
    return Asked(tuple(series), frozenset(groups))


def _hide_matched(expr: str) -> str:
    """What stands in braces must not be taken for names: kept, but only behind its series."""
    return _MATCHERS.sub(lambda match: "{" + match[1].replace(" ", "") + "}", expr)


def complaints(expr: str) -> list[str]:
    """What an expression has wrong: names and labels that are not in the list."""
    asked = parse(expr)
    wrong: list[str] = []
    known = set(ADDED)
    for name, matched in asked.series:
        metric = metric_of(name)
        if metric is not None:
            labels = {*metric.labels, *ADDED, *(("le",) if name.endswith("_bucket") else ())}
        elif name in OF_CLIENT | OF_PROMETHEUS:
            labels = set(ADDED)
        else:
            wrong.append(f"{name} is no metric")
            continue
        known |= labels
        wrong += [f"{name} has no label {label}" for label in sorted(matched - labels)]
    wrong += [f"nothing there has the label {label}" for label in sorted(asked.groups - known)]
    return wrong if asked.series else ["asks for no series"]


def metric_of(sample: str) -> Metric | None:
    return next((metric for metric in METRICS if sample in metric.samples), None)
