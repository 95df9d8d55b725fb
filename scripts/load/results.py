"""What a run has shown: its phases, and what a scenario found."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scripts.load.judged import Judged
from scripts.load.watch import Look


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of load. `expected` are the deliveries that its accepted posts owe, by group."""

    number: int
    name: str
    is_measured: bool
    began_us: int
    seconds: float
    deliveries_per_s: float  # as asked for
    posts: int
    accepted: int
    refused: Mapping[str, int]
    expected: Counter[str]
    before: Look
    after: Look

    @property
    def delivered(self) -> int:
        return self.after.deliveries - self.before.deliveries

    def cpu_us(self) -> dict[str, float]:
        """CPU microseconds of each process of the service for each delivery."""
        return cpu_us_per_delivery(self.before, self.after)


def cpu_us_per_delivery(before: Look, after: Look) -> dict[str, float]:
    """By process that lived all the time; empty when nothing was delivered."""
    delivered = after.deliveries - before.deliveries
    if not delivered:
        return {}
    return {
        name: (used.cpu_s - before.usage[name].cpu_s) / delivered * 1e6
        for name, used in after.usage.items()
        if name in before.usage
    }


@dataclass(frozen=True, slots=True)
class Finding(Judged):
    """A figure that a scenario was run for. With a `baseline` the bar is for their ratio."""

    what: str
    value: float
    unit: str
    baseline: float | None = None
    bar: float | None = None

    def as_json(self) -> dict[str, object]:
        return {
            "what": self.what,
            "value": self.value,
            "unit": self.unit,
            "baseline": self.baseline,
            "ratio": self.ratio,
            "bar": self.bar,
            "met": self.is_met,
        }


def busiest(before: Look, after: Look) -> Sequence[tuple[str, float]]:
    """The share of a core each load process used: above 0.9 it, not the service, is the limit."""
    seconds = (after.at_us - before.at_us) / 1e6
    shares = [
        (name, (used.cpu_s - before.ours[name].cpu_s) / seconds)
        for name, used in after.ours.items()
        if name in before.ours and seconds > 0
    ]
    return sorted(shares, key=lambda one: -one[1])


def kept_waiting(before: Look, after: Look) -> dict[str, float]:
    """The share of the time in which a process could have run, and others had the cores: ours, or
    somebody else's on this machine."""
    seconds = (after.at_us - before.at_us) / 1e6
    return {
        name: (used.kept_waiting_s - before.usage[name].kept_waiting_s) / seconds
        for name, used in after.usage.items()
        if name in before.usage and seconds > 0
    }
