"""What systems under test are put through: loads, played in turns, and what each play has cost."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

SETTLE_MAX_S = 60.0
LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Load:
    """So many posts, evenly over `seconds`; all at once when that is 0."""

    posts: int
    seconds: float = 0.0

    def arrivals_us(self) -> list[int]:
        """From the beginning."""
        gap_us = self.seconds * 1e6 / self.posts
        return [round(number * gap_us) for number in range(self.posts)]

    def authors(self, count: int) -> list[int]:
        """Whose turn it is at each post."""
        return [number % count for number in range(self.posts)]


@dataclass(frozen=True, slots=True)
class Spent:
    """What one play has cost, in CPU microseconds for each delivery, by process."""

    deliveries: int
    us: Mapping[str, float]

    def total_us(self, without: str = "") -> float:
        """`without`: a process left out."""
        return sum(used_us for name, used_us in self.us.items() if name != without)


def spent(before_s: Mapping[str, float], after_s: Mapping[str, float], deliveries: int) -> Spent:
    """From the CPU seconds of processes before and after."""
    return Spent(
        deliveries,
        {name: (after_s[name] - before_s[name]) / deliveries * 1e6 for name in before_s},
    )


class System(Protocol):
    """Something that hands out posts."""

    @property
    def name(self) -> str: ...

    async def play(self, load: Load) -> Spent:
        """Returns when everything has been received and recorded. Raises CommandFailed when it
        has not after `SETTLE_MAX_S`."""
        ...


@dataclass(frozen=True, slots=True)
class Play:
    """One system under one load; `row` is what it is a figure of."""

    row: str
    system: System
    load: Load


Found = Mapping[tuple[str, str], Sequence[Spent]]  # by row and system


async def take_turns(plays: Sequence[Play], rounds: int) -> Found:
    """Each play once in every round, so that all of them meet the same moods of the machine."""
    found: defaultdict[tuple[str, str], list[Spent]] = defaultdict(list)
    for _ in range(rounds):
        for play in plays:
            found[play.row, play.system.name].append(await play.system.play(play.load))
    return found


def middle(plays: Sequence[Spent], without: str = "") -> float:
    """The median of the totals."""
    return median(one.total_us(without) for one in plays)


def by_process(found: Found) -> str:
    """A line for each row and system: the medians, the costliest process first."""
    return "\n".join(
        f"  {row}, {system}: {_processes(plays)}" for (row, system), plays in found.items()
    )


def _processes(plays: Sequence[Spent]) -> str:
    middle_us = {name: median(one.us[name] for one in plays) for name in plays[0].us}
    ordered = sorted(middle_us.items(), key=lambda one: -one[1])
    shown = ", ".join(f"{name} {used_us:.2f}" for name, used_us in ordered)
    totals = sorted(one.total_us() for one in plays)
    return f"{shown}; all of them {totals[0]:.2f} to {totals[-1]:.2f}"
