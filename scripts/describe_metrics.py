"""The page of all metrics, made of the list: `python -m scripts.describe_metrics --write PAGE`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from app.metric import EVERY, Kind, Metric
from app.metric_names import METRICS

HEAD = """# Metrics

<!-- Made of app/metric_names.py: python -m scripts.describe_metrics --write docs/metrics.md -->

Every process answers `GET /metrics` in Prometheus' text format: the api on `MOMENTS_PORT`, a
gateway on `MOMENTS_GATEWAY_PORT`, a worker on `MOMENTS_OPS_PORT`. All names begin with `moments_`,
end in their unit (`_seconds`, `_bytes`, or none for a plain number), and counters in `_total`
behind it. Histograms have the samples `_bucket`, `_sum` and `_count`. Besides these, each process
tells its memory, CPU, files and garbage collection under the names of Prometheus' Python client:
`process_resident_memory_bytes`, `process_cpu_seconds_total`, `process_open_fds` and so on.

What the janitor reads from the store (queues, endpoints, leases, memory) is told by the worker that
holds the janitor's lease on a shard: sum it over all workers, and group it by its labels. How to
look at them, and what to be woken for: [observability.md](observability.md).
"""


def page(metrics: Sequence[Metric]) -> str:
    """One table for all processes that have the same metrics."""
    tables = [
        f"## {_title(roles)}\n\n" + _table([metric for metric in metrics if metric.roles == roles])
        for roles in dict.fromkeys(metric.roles for metric in metrics)
    ]
    return "\n".join([HEAD, *tables])


def _title(roles: Sequence[str]) -> str:
    return "Every process" if tuple(roles) == EVERY else " and ".join(roles).capitalize()


def _table(metrics: Sequence[Metric]) -> str:
    lines = ["| metric | kind | unit | labels | what it tells |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| `{metric.name}` | {metric.kind} | {metric.unit or _count(metric)} | "
        f"{', '.join(f'`{label}`' for label in metric.labels)} | {metric.help} |"
        for metric in metrics
    ]
    return "\n".join(lines) + "\n"


def _count(metric: Metric) -> str:
    return "times" if metric.kind is Kind.COUNTER else "number"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="a file, instead of the screen")
    path: Path | None = parser.parse_args().write
    if path is None:
        sys.stdout.write(page(METRICS))
    else:
        path.write_text(page(METRICS))


if __name__ == "__main__":
    main()
