"""The metrics of a process, and how they are read when somebody scrapes.

Hot paths count in plain ints of their own (a stats object, a `Histogram`) and never touch the
Prometheus client: each metric is a function that is called once a scrape.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from app.metric import Kind, Metric
from app.metric_names import METRICS

Labels = tuple[tuple[str, str], ...]  # (("state", "open"), …): the names are those of the metric
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4


TIME_BOUNDS_S: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
# From acceptance to push: a webhook may be pushed by its last retry, days later.
PUSH_BOUNDS_S: Final = (*TIME_BOUNDS_S, 300.0, 1_800.0, 10_800.0, 86_400.0)


@dataclass(slots=True)
class Histogram:
    """Counts of observed values by upper bound: one bisection and two additions each."""

    bounds: tuple[float, ...] = TIME_BOUNDS_S
    counts: list[int] = field(init=False)
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float, times: int = 1) -> None:
        """Counts a value, at once for all of the `times` it was seen."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus wants them; the last bound is +Inf."""
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            buckets.append((bound, total))
        return buckets


def push_times() -> Histogram:
    """Of seconds from acceptance to push, whatever the channel."""
    return Histogram(PUSH_BOUNDS_S)


Value = float | Histogram
Read = Callable[[], Value | Mapping[Labels, float] | Mapping[Labels, Histogram]]


def _family(metric: Metric, read: Read) -> Family:
    value = read()
    entries: Mapping[Labels, Value] = value if isinstance(value, Mapping) else {(): value}
    names = metric.labels
    match metric.kind:
        case Kind.HISTOGRAM:
            family = HistogramMetricFamily(metric.name, metric.help, labels=names)
        case Kind.COUNTER:
            family = CounterMetricFamily(metric.name, metric.help, labels=names)
        case Kind.GAUGE:
            family = GaugeMetricFamily(metric.name, metric.help, labels=names)
    for labels, entry in entries.items():
        values = _values(metric, labels)
        if isinstance(family, HistogramMetricFamily):
            assert isinstance(entry, Histogram)
            family.add_metric(values, entry.buckets(), entry.sum)
        else:
            assert not isinstance(entry, Histogram)
            family.add_metric(values, entry)
    return family


def _values(metric: Metric, labels: Labels) -> list[str]:
    """In the order of the list. Raises ValueError for labels that are not those of the metric."""
    if tuple(name for name, _ in labels) != metric.labels:
        raise ValueError(f"{metric.name} has the labels {metric.labels}, not those of {labels}")
    return [value for _, value in labels]


class Metrics(Collector):
    """The metrics of one process: its own, and what is registered here."""

    def __init__(self) -> None:
        self._reads: dict[str, tuple[Metric, Read]] = {}
        self._registry = CollectorRegistry(support_collectors_without_names=True)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def register(self, metric: Metric, read: Read) -> None:
        """Adds a metric whose value is what `read` returns when somebody scrapes.

        `read` returns a number, a `Histogram`, or a mapping of `Labels` to either. Raises
        ValueError for a metric that is here already or that is not in the list.
        """
        if metric.name in self._reads:
            raise ValueError(f"the metric {metric.name} is registered already")
        if metric not in METRICS:
            raise ValueError(f"the metric {metric.name} is not in app/metric_names.py")
        self._reads[metric.name] = (metric, read)

    def register_stats(self, stats: object, fields: Mapping[str, Metric]) -> None:
        """Adds one metric for each attribute of `stats` that `fields` names.

        Raises AttributeError at once when `stats` has no such attribute.
        """
        for name, metric in fields.items():
            getattr(stats, name)
            self.register(metric, lambda name=name: getattr(stats, name))

    def read(self, metric: Metric) -> Value | Mapping[Labels, float] | Mapping[Labels, Histogram]:
        """What a metric says now. Raises KeyError when it is not registered here."""
        return self._reads[metric.name][1]()

    def __contains__(self, metric: Metric) -> bool:
        return metric.name in self._reads

    def collect(self) -> Iterable[Family]:
        return [_family(metric, read) for metric, read in self._reads.values()]

    def render(self) -> bytes:
        """Everything in Prometheus' text format; send it as `CONTENT_TYPE`."""
        return generate_latest(self._registry)
