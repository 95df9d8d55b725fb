"""The token bucket: never more than burst and rate allow, never less either."""

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.bucket import Bucket, Buckets, Rate

per_s = st.floats(0.01, 1_000)
rates = st.builds(Rate.of, per_s, st.none() | st.integers(1, 300))


def takes(bucket: Bucket, now_s: float) -> int:
    """How many tokens can be taken right now."""
    taken = 0
    while bucket.ready_at_s <= now_s:
        bucket.take(now_s)
        taken += 1
    return taken


@pytest.mark.parametrize(("rate", "burst"), [(0.1, 1), (1, 1), (1.5, 1), (5, 5), (100, 100)])
def test_a_full_bucket_gives_one_second_worth_and_one_at_least(rate, burst):
    assert takes(Bucket(Rate.of(rate)), now_s=1_000.0) == burst


@pytest.mark.parametrize(("rate", "burst"), [(0.1, 3), (1, 1), (50, 7), (100, 1_000)])
def test_a_full_bucket_gives_its_burst_where_there_is_one(rate, burst):
    assert takes(Bucket(Rate.of(rate, burst)), now_s=1_000.0) == burst


def test_a_token_comes_back_after_its_interval():
    bucket = Bucket(Rate.of(4))
    assert takes(bucket, 0.0) == 4
    assert bucket.ready_at_s == pytest.approx(0.25, abs=1e-5)
    assert takes(bucket, 0.24) == 0
    assert takes(bucket, 0.25) == 1
    assert takes(bucket, bucket.full_at_s) == 4


@given(rates, st.lists(st.floats(0, 5), max_size=60))
def test_no_span_of_time_sees_more_than_burst_and_rate_allow(rate, waits_s):
    bucket, now_s, taken_at_s = Bucket(rate), 0.0, []
    for wait_s in waits_s:
        now_s += wait_s
        if bucket.ready_at_s <= now_s:
            bucket.take(now_s)
            taken_at_s.append(now_s)
    for first, start_s in enumerate(taken_at_s):
        for count, end_s in enumerate(taken_at_s[first:], start=1):
            assert count <= rate.burst + (end_s - start_s) / rate.interval_s + 0.002


@given(rates, st.integers(1, 200))
def test_who_always_takes_when_ready_gets_the_whole_rate(rate, count):
    bucket, now_s = Bucket(rate), 0.0
    for _ in range(count):
        now_s = max(now_s, bucket.ready_at_s)
        bucket.take(now_s)
    assert now_s <= max(0, count - rate.burst) * rate.interval_s + 1e-6


@given(rates, st.lists(st.tuples(st.floats(0, 5), st.integers(0, 400)), max_size=8))
def test_what_is_left_is_what_can_be_taken(rate, steps):
    bucket, now_s = Bucket(rate), 0.0
    for wait_s, most in steps:
        now_s += wait_s
        left = bucket.left(now_s)
        for _ in range(min(left, most)):
            assert bucket.ready_at_s <= now_s
            bucket.take(now_s)
        if left <= most:
            assert bucket.ready_at_s > now_s
            assert bucket.left(now_s) == 0


@given(rates, st.floats(0, 1e6))
def test_after_the_whole_seconds_that_are_named_there_is_a_token_and_a_second_before_there_is_none(
    rate, now_s
):
    bucket = Bucket(rate)
    takes(bucket, now_s)
    wait_s = ceil(bucket.ready_at_s - now_s)
    assert bucket.ready_at_s <= now_s + wait_s
    assert bucket.ready_at_s > now_s + wait_s - 1


def test_to_be_refused_costs_nothing():
    bucket = Bucket(Rate.of(1, 2))
    takes(bucket, 0.0)
    ready_at_s = bucket.ready_at_s
    for now_s in (0.1, 0.5, 0.9):
        assert takes(bucket, now_s) == 0
    assert bucket.ready_at_s == ready_at_s


def test_without_a_rate_everything_goes_at_once():
    bucket = Bucket(Rate.of(None))
    for _ in range(1_000):
        assert bucket.ready_at_s <= 0.0
        bucket.take(0.0)
    assert bucket.full_at_s <= 0.0


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_that_is_not_positive_is_a_mistake(rate):
    with pytest.raises(ValueError, match="positive"):
        Rate.of(rate)


@pytest.mark.parametrize("burst", [0, 0.9, -1, float("nan")])
def test_a_burst_that_never_lets_one_through_is_a_mistake(burst):
    with pytest.raises(ValueError, match="burst"):
        Rate.of(1, burst)


def test_tokens_taken_stay_taken_when_the_rate_changes():
    bucket = Bucket(Rate.of(0.01))
    assert takes(bucket, 0.0) == 1
    assert bucket.ready_at_s == pytest.approx(100.0)
    bucket.change(Rate.of(1.0), 0.0)
    assert bucket.ready_at_s == pytest.approx(1.0, abs=1e-5)
    bucket.change(Rate.of(0.01), 0.5)
    assert bucket.ready_at_s == pytest.approx(50.5, abs=1e-5)


def test_a_rate_taken_away_and_given_back_starts_with_a_full_bucket():
    bucket = Bucket(Rate.of(2))
    takes(bucket, 0.0)
    bucket.change(Rate.of(None), 0.0)
    assert bucket.ready_at_s <= 0.0
    bucket.change(Rate.of(2), 0.0)
    assert takes(bucket, 0.0) == 2


def test_each_name_has_a_bucket_of_its_own_and_the_rate_it_was_given():
    buckets, two = Buckets(names_max=10), Rate.of(1, 2)
    assert buckets.find("ann") is None
    assert takes(buckets.of("ann", two, 0.0), 0.0) == 2
    assert takes(buckets.of("ann", two, 0.0), 0.0) == 0
    assert buckets.find("ann") is buckets.of("ann", two, 0.0)
    assert takes(buckets.of("bob", two, 0.0), 0.0) == 2
    assert takes(buckets.of("cyd", Rate.of(5), 0.0), 0.0) == 5
    assert takes(buckets.of("ann", two, 1.0), 1.0) == 1


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(0, 3)), max_size=80))
def test_there_are_never_more_than_may_be_and_the_last_names_are_among_them(steps):
    buckets, rate, now_s, last = Buckets(names_max=3), Rate.of(1, 2), 0.0, {}
    for name, wait_s in steps:
        now_s += wait_s
        bucket = buckets.of(name, rate, now_s)
        assert last.pop(name, bucket) is bucket
        last = dict([*last.items(), (name, bucket)][-3:])
        takes(bucket, now_s)
        assert len(buckets) == len(last)
        assert {other: buckets.find(other) for other in last} == last


def test_a_bucket_that_goes_before_it_is_full_is_counted():
    buckets, rate = Buckets(names_max=2), Rate.of(1, 1)
    for name in ("ann", "bob", "cyd"):
        takes(buckets.of(name, rate, 0.0), 0.0)
    assert buckets.forgotten == 1  # ann's
    takes(buckets.of("dan", rate, 1.0), 1.0)  # in place of bob's, which is full again
    assert (buckets.forgotten, len(buckets)) == (1, 2)
    assert takes(buckets.of("cyd", rate, 1.0), 1.0) == 1
