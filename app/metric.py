"""What a metric is: its name, kind, unit, labels, what it means, and which processes have it.

Names follow Prometheus' rules (https://prometheus.io/docs/practices/naming/): the unit is the last
word, in its base form, but for the `_total` of counters.
"""

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What a metric is to Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Unit(StrEnum):
    """What a value counts. The value is the word that the name has to end in."""

    NUMBER = ""
    SECONDS = "seconds"
    BYTES = "bytes"


class Role(StrEnum):
    """A process that can be scraped."""

    API = "api"
    GATEWAY = "gateway"
    WORKER = "worker"


API = (Role.API,)
GATEWAY = (Role.GATEWAY,)
WORKER = (Role.WORKER,)
PUSHERS = (Role.GATEWAY, Role.WORKER)
EVERY = (Role.API, Role.GATEWAY, Role.WORKER)


class Metric(NamedTuple):
    """One metric: every sample of it has all `labels` and no others."""

    roles: tuple[Role, ...]
    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    unit: Unit = Unit.NUMBER

    @property
    def samples(self) -> tuple[str, ...]:
        """The names that samples of it have."""
        if self.kind is Kind.HISTOGRAM:
            return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))
        return (self.name,)


def counter(
    roles: tuple[Role, ...], name: str, help: str, *labels: str, unit: Unit = Unit.NUMBER
) -> Metric:
    return Metric(roles, name, Kind.COUNTER, help, labels, unit)


def gauge(
    roles: tuple[Role, ...], name: str, help: str, *labels: str, unit: Unit = Unit.NUMBER
) -> Metric:
    return Metric(roles, name, Kind.GAUGE, help, labels, unit)


def histogram(roles: tuple[Role, ...], name: str, help: str, *labels: str) -> Metric:
    """Of times: nothing else is spread over orders of magnitude here."""
    return Metric(roles, name, Kind.HISTOGRAM, help, labels, Unit.SECONDS)
