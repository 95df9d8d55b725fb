"""A row of the table that the benchmarks make: a figure, its bar, and the same of others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from statistics import median

from scripts.load.judged import Judged


@dataclass(frozen=True, slots=True)
class Row(Judged):
    """`name` is what the row is asked for by. `bar`: the most it may be; for a figure with a
    `baseline` the most their ratio may be. `peers`: the same figure of others, measured in turns in
    the same run, or why there is none. `source`: the command that measures it."""

    name: str
    what: str
    value: float
    unit: str
    source: str
    bar: float | None = None
    baseline: float | None = None
    peers: Mapping[str, "float | str"] = field(default_factory=dict[str, "float | str"])

    def as_json(self) -> dict[str, object]:
        return {
            **{one.name: getattr(self, one.name) for one in fields(self)},
            "ratio": self.ratio,
            "met": self.is_met,
        }


@dataclass(frozen=True, slots=True)
class Series:
    """What the rounds of one system have shown."""

    figures: Sequence[float]

    @property
    def middle(self) -> float:
        return median(self.figures)

    def __str__(self) -> str:
        return f"{self.middle:.2f} (from {min(self.figures):.2f} to {max(self.figures):.2f})"
