"""What a process tells of itself, again and again: totals since its start, and what it has open."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, cast, get_args

Channel = str  # "webhook" or "socket"
CHANNELS: Final = ("webhook", "socket")

_VERSION: Final = 1  # of the form of a snapshot


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look at a process. Times in Unix milliseconds by the clock of that process.

    `push_counts` has, by channel, how many pushes fell into each bucket of `PUSH_BOUNDS_S`, one
    more for those above the last bound. What a process has not to do with is 0 or missing.
    """

    id: str
    role: str
    version: str
    at_ms: int
    started_at_ms: int
    memory_bytes: int
    delivered: Mapping[Channel, int]
    push_counts: Mapping[Channel, Sequence[int]]
    sockets_open: int
    attempts_open: int
    leases_held: int
    posts_accepted: int

    def as_fields(self) -> dict[str, Any]:
        return {"form": _VERSION, **asdict(self)}

    @classmethod
    def of_fields(cls, value: object) -> "Snapshot":
        """Raises ValueError for anything but what `as_fields` gives, of another form too."""
        if not isinstance(value, dict):
            raise ValueError("not a snapshot")
        given = dict(cast("dict[str, Any]", value))
        if given.pop("form", None) != _VERSION or set(given) != _KINDS.keys():
            raise ValueError("not a snapshot of this form")
        for name, kind in _KINDS.items():
            if kind in (int, str):
                is_right = type(given[name]) is kind
            else:
                is_right = _is_by_channel(given[name], lists=name == "push_counts")
            if not is_right:
                raise ValueError(f"not a snapshot: {name}")
        return cls(**given)


_KINDS: Final[dict[str, Any]] = {
    field.name: None if get_args(field.type) else field.type for field in fields(Snapshot)
}


def _is_by_channel(value: object, *, lists: bool) -> bool:
    if not isinstance(value, dict):
        return False
    found = cast("dict[str, Any]", value)
    if not found.keys() <= set(CHANNELS):
        return False
    if not lists:
        return all(type(count) is int for count in found.values())
    return all(
        isinstance(counts, list) and all(type(one) is int for one in cast("list[Any]", counts))
        for counts in found.values()
    )


def added(lists: Sequence[Sequence[int]], size: int) -> list[int]:
    """The sum of lists of counts, number by number. A list of another size does not count: its
    process is of a release with other bounds."""
    total = [0] * size
    for counts in lists:
        if len(counts) == size:
            total = [a + b for a, b in zip(total, counts, strict=True)]
    return total


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """The value below which a share of what was counted lies, in the unit of the bounds; None of
    nothing. Within a bucket values are taken to be spread evenly, as Prometheus takes them.

    What lies above the last bound is told as that bound.
    """
    total = sum(counts)
    if not total:
        return None
    rank, below = share * total, 0
    for number, count in enumerate(counts):
        if below + count >= rank and count:
            if number >= len(bounds):
                break
            low = bounds[number - 1] if number else 0.0
            return low + (bounds[number] - low) * (rank - below) / count
        below += count
    return bounds[-1]
