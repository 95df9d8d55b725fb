"""Rates and times to push, from what processes tell of themselves."""

import json
from dataclasses import replace

import pytest

from app.console.watched_stats import POINTS_MAX, StatsSource, Trend
from app.domain.snapshot import Snapshot
from app.metrics import PUSH_BOUNDS_S
from app.store.client import Store
from tests.api.conftest import make_services

NONE = [0] * (len(PUSH_BOUNDS_S) + 1)


def snapshot(at_s: float, id_: str = "w", **fields: object) -> Snapshot:
    made = Snapshot(
        id=id_,
        role="worker",
        version="1",
        at_ms=round(at_s * 1000),
        started_at_ms=0,
        memory_bytes=1,
        delivered={"webhook": 0, "socket": 0},
        push_counts={"webhook": NONE},
        sockets_open=0,
        attempts_open=0,
        leases_held=0,
        posts_accepted=0,
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def webhooks(number: int) -> dict[str, int]:
    return {"webhook": number, "socket": 0}


def rate(point: dict[str, object], channel: str = "webhook") -> object:
    return point[channel]["per_s"]  # type: ignore[index]


def test_a_process_counts_from_the_second_look_on():
    trend = Trend()
    assert rate(trend.add(0, [snapshot(1, delivered=webhooks(5_000))])) == 0
    assert rate(trend.add(0, [snapshot(2, delivered=webhooks(5_100))])) == 100
    assert rate(trend.add(0, [snapshot(3, delivered=webhooks(5_300))])) == 150


def test_the_same_snapshot_twice_is_one():
    trend = Trend()
    first, second = snapshot(1, delivered=webhooks(0)), snapshot(2, delivered=webhooks(80))
    trend.add(0, [first])
    for _ in range(3):
        point = trend.add(0, [second])
        assert rate(point) == 80


def test_what_was_long_ago_does_not_count():
    trend = Trend()
    for second in range(10):
        point = trend.add(0, [snapshot(second, delivered=webhooks(100 if second > 2 else 0))])
    assert rate(point) == 0


def test_processes_add_up_and_those_that_end_or_begin_anew_take_nothing_away():
    trend = Trend()
    both = [
        [snapshot(at_s, id_, delivered=webhooks(round(at_s * 10))) for id_ in "ab"]
        for at_s in (1, 2)
    ]
    trend.add(0, both[0])
    assert rate(trend.add(0, both[1])) == 20
    assert rate(trend.add(0, [snapshot(3, "a", delivered=webhooks(30))])) == 10
    later = [snapshot(4, "a", delivered=webhooks(40)), snapshot(4, "b", delivered=webhooks(0))]
    assert rate(trend.add(0, later)) == 10


def test_times_are_those_of_the_last_seconds():
    trend = Trend()
    slow, fast = list(NONE), list(NONE)
    slow[len(PUSH_BOUNDS_S) - 1] = 1_000
    fast[:2] = [100, 100]
    both = [a + b for a, b in zip(slow, fast, strict=True)]
    trend.add(0, [snapshot(1, push_counts={"webhook": slow})])
    point = trend.add(0, [snapshot(2, push_counts={"webhook": both})])
    median, p99 = point["webhook"]["times_ms"]
    assert median == pytest.approx(1.0)
    assert 1.0 < p99 <= 2.5
    assert point["socket"]["times_ms"] == [None, None]


def test_a_process_of_a_release_with_other_bounds_is_left_out_of_the_times():
    trend = Trend()
    trend.add(0, [snapshot(1, push_counts={"webhook": [1]})])
    point = trend.add(0, [snapshot(2, push_counts={"webhook": [9]})])
    assert point["webhook"]["times_ms"] == [None, None]


async def test_whoever_comes_gets_the_points_of_the_last_minutes(single_store: Store):
    source = StatsSource(make_services(single_store))
    for _ in range(3):
        latest = json.loads(await source.look(thorough=False))
    assert (len(latest["points"]), latest["whole"]) == (1, False)
    whole = json.loads(source.whole())
    assert (len(whole["points"]), whole["whole"]) == (3, True)
    assert whole["stats"] == latest["stats"]
    assert whole["stats"]["queues"]["posts"] == 0
    assert POINTS_MAX * source.pause_s == 300
