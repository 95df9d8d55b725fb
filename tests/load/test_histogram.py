"""Latencies put together from many parts."""

import random

import pytest

from scripts.load.histogram import Latencies, Summary
from scripts.load.samples import Key


def filled(values: list[int]) -> Latencies:
    latencies = Latencies()
    for number, value in enumerate(values):
        latencies.add(Key(0, number % 3, "p", "healthy"), [value])
    return latencies


def test_percentiles_are_those_of_the_values_within_a_thousandth():
    draws = random.Random(1)
    values = [round(draws.lognormvariate(9, 1)) + 1 for _ in range(10_000)]
    summary = filled(values).of([0], ["healthy"])
    ranked = sorted(values)
    assert summary.count == 10_000
    for found, part in (
        (summary.p50_ms, 0.5),
        (summary.p90_ms, 0.9),
        (summary.p99_ms, 0.99),
        (summary.p999_ms, 0.999),
    ):
        assert found * 1000 == pytest.approx(ranked[int(part * 10_000) - 1], rel=0.002)
    assert summary.max_ms * 1000 == pytest.approx(ranked[-1], rel=0.001)


def test_phases_groups_and_kinds_are_kept_apart_and_can_be_put_together():
    latencies = Latencies()
    latencies.add(Key(0, 0, "p", "healthy"), [1_000] * 10)
    latencies.add(Key(1, 5, "p", "healthy"), [2_000] * 10)
    latencies.add(Key(1, 5, "x", "healthy"), [4_000] * 5)
    latencies.add(Key(1, 5, "p", "socket"), [8_000] * 20)
    assert latencies.of([0], ["healthy"]).count == 10
    assert latencies.of([1], ["healthy"], ["x"]).p50_ms == pytest.approx(4, rel=0.001)
    assert latencies.of([0, 1], ["healthy", "socket"]).count == 45
    assert latencies.count(1, "healthy") == 15
    assert latencies.groups(1) == ["healthy", "socket"]
    assert latencies.groups(2) == []


def test_seconds_are_told_in_order_each_with_its_own_percentiles():
    latencies = Latencies()
    latencies.add(Key(0, 9, "p", "socket"), [9_000])
    latencies.add(Key(0, 4, "p", "socket"), [4_000])
    found = latencies.seconds(["socket"])
    assert list(found) == [4, 9]
    assert found[9].p99_ms == pytest.approx(9, rel=0.02)
    assert latencies.seconds(["healthy"]) == {}


def test_nothing_is_summed_up_as_nothing():
    assert Latencies().of([0], ["healthy"]) == Summary(0, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_values_beyond_an_hour_and_below_a_microsecond_are_counted():
    summary = filled([0, 4_000_000_000]).of([0], ["healthy"])
    assert summary.count == 2
    assert summary.max_ms == pytest.approx(3_600_000, rel=0.001)
