"""Latencies as histograms: by phase, kind of post and group of recipients, and second by second."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass

from hdrh.histogram import HdrHistogram

from scripts.load.samples import Key

_US_MAX = 3_600_000_000
_DIGITS = 3
_DIGITS_OF_SECONDS = 2  # there are many of them
ACCEPTED = "accepted"  # in place of a group: the api's answer to the poster


@dataclass(frozen=True, slots=True)
class Summary:
    """Milliseconds; all 0 when there was nothing."""

    count: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float

    def as_json(self) -> dict[str, float]:
        return asdict(self)


def summarise(histogram: HdrHistogram) -> Summary:
    count = histogram.get_total_count()
    if not count:
        return Summary(0, 0.0, 0.0, 0.0, 0.0, 0.0)
    cuts = [histogram.get_value_at_percentile(part) / 1000 for part in (50, 90, 99, 99.9, 100)]
    return Summary(count, *cuts)


class Latencies:
    """All latencies of a run."""

    def __init__(self) -> None:
        self._whole: dict[tuple[int, str, str], HdrHistogram] = {}
        self._seconds: dict[tuple[str, int], HdrHistogram] = {}

    def add(self, key: Key, values_us: Iterable[int]) -> None:
        name = (key.phase, key.kind, key.group)
        whole = self._whole.get(name)
        if whole is None:
            whole = self._whole[name] = HdrHistogram(1, _US_MAX, _DIGITS)
        place = (key.group, key.second)
        second = self._seconds.get(place)
        if second is None:
            second = self._seconds[place] = HdrHistogram(1, _US_MAX, _DIGITS_OF_SECONDS)
        for value in values_us:
            clipped = min(max(value, 1), _US_MAX)
            whole.record_value(clipped)
            second.record_value(clipped)

    def of(
        self,
        phases: Collection[int],
        groups: Collection[str],
        kinds: Collection[str] | None = None,
    ) -> Summary:
        merged = HdrHistogram(1, _US_MAX, _DIGITS)
        for (phase, kind, group), histogram in self._whole.items():
            if phase in phases and group in groups and (kinds is None or kind in kinds):
                merged.add(histogram)
        return summarise(merged)

    def count(self, phase: int, group: str) -> int:
        return sum(
            histogram.get_total_count()
            for (of_phase, _, of_group), histogram in self._whole.items()
            if of_phase == phase and of_group == group
        )

    def groups(self, phase: int) -> list[str]:
        return sorted({group for of_phase, _, group in self._whole if of_phase == phase})

    def seconds(self, groups: Collection[str]) -> dict[int, Summary]:
        """By the second in which posts were due."""
        merged: dict[int, HdrHistogram] = defaultdict(
            lambda: HdrHistogram(1, _US_MAX, _DIGITS_OF_SECONDS)
        )
        for (group, second), histogram in self._seconds.items():
            if group in groups:
                merged[second].add(histogram)
        return {second: summarise(merged[second]) for second in sorted(merged)}
