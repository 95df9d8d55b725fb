"""The log tells of bounds that are reached, now and then, and of no other."""

import logging
from collections import Counter

import pytest

from app import metric_names as names
from app.bounds import BoundLog, told_bounds
from app.metrics import Labels, Metrics
from tests.wait import wait_until


class Process:
    """Counters that a test turns, and what the log says at a look."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, "app.bounds")
        self._caplog = caplog
        self.full: Counter[str] = Counter()
        self.results: Counter[str] = Counter()
        self.paused = 0
        self.metrics = Metrics()
        self.metrics.register(names.LANES_FULL, lambda: by("limit", self.full))
        self.metrics.register(names.ATTEMPTS, lambda: by("result", self.results))
        self.metrics.register(names.FANOUT_READS_PAUSED, lambda: self.paused)
        self.metrics.register(names.SLICES, lambda: self.paused)  # tells of no bound

    def lines(self) -> list[tuple[str, str, str | None, int]]:
        """Level, metric, the value of its label, times; of all lines since the last call."""
        found = [
            (
                record.levelname,
                record.metric,
                getattr(record, "limit", getattr(record, "result", None)),
                record.times,
            )
            for record in self._caplog.records
            if record.name == "app.bounds"
        ]
        self._caplog.clear()
        return found


def by(label: str, counts: Counter[str]) -> dict[Labels, float]:
    return {((label, value),): count for value, count in counts.items()}


def test_each_look_tells_how_often_a_bound_was_reached_since_the_last(caplog):
    process = Process(caplog)
    told = BoundLog(process.metrics)
    told.look()
    assert process.lines() == []
    process.full["share"] += 3
    process.full["held_max"] += 1
    process.paused += 2
    told.look()
    assert sorted(process.lines(), key=str) == [
        ("WARNING", "moments_fanout_reads_paused_total", None, 2),
        ("WARNING", "moments_lanes_full_total", "held_max", 1),
        ("WARNING", "moments_lanes_full_total", "share", 3),
    ]
    process.full["share"] += 1
    told.look()
    assert process.lines() == [("WARNING", "moments_lanes_full_total", "share", 1)]
    told.look()
    assert process.lines() == []


def test_of_a_counter_of_many_things_only_the_bound_is_told(caplog):
    process = Process(caplog)
    process.results.update(delivered=5, timeout=2)
    BoundLog(process.metrics).look()
    assert process.lines() == [("INFO", "moments_attempts_total", "timeout", 2)]


async def test_a_process_looks_again_and_again_while_it_runs(caplog: pytest.LogCaptureFixture):
    process = Process(caplog)
    async with told_bounds(process.metrics, every_s=0.01):
        for times in (1, 4):
            process.paused += times
            await wait_until(lambda: caplog.records)
            assert [line[-1] for line in process.lines()] == [times]


async def test_a_process_looks_once_more_at_its_end(caplog: pytest.LogCaptureFixture):
    process = Process(caplog)
    async with told_bounds(process.metrics):
        process.paused += 2
    assert [line[-1] for line in process.lines()] == [2]
