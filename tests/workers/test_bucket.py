"""The token bucket: never more than burst and rate allow, never less either."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.bucket import Bucket

rates = st.floats(0.01, 1_000)


def takes(bucket: Bucket, now_s: float) -> int:
    """How many tokens can be taken right now."""
    taken = 0
    while bucket.ready_at_s <= now_s:
        bucket.take(now_s)
        taken += 1
    return taken


@pytest.mark.parametrize(("rate", "burst"), [(0.1, 1), (1, 1), (1.5, 1), (5, 5), (100, 100)])
def test_a_full_bucket_gives_one_second_worth_and_one_at_least(rate, burst):
    assert takes(Bucket(rate), now_s=1_000.0) == burst


def test_a_token_comes_back_after_its_interval():
    bucket = Bucket(4)
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
            assert count <= max(1, rate) + rate * (end_s - start_s) + 0.002


@given(rates, st.integers(1, 200))
def test_who_always_takes_when_ready_gets_the_whole_rate(rate, count):
    bucket, now_s = Bucket(rate), 0.0
    for _ in range(count):
        now_s = max(now_s, bucket.ready_at_s)
        bucket.take(now_s)
    assert now_s <= max(0, count - max(1, rate)) / rate + 1e-6


def test_without_a_rate_everything_goes_at_once():
    bucket = Bucket(None)
    for _ in range(1_000):
        assert bucket.ready_at_s <= 0.0
        bucket.take(0.0)
    assert bucket.full_at_s <= 0.0


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_that_is_not_positive_is_a_mistake(rate):
    with pytest.raises(ValueError, match="positive"):
        Bucket(rate)


def test_tokens_taken_stay_taken_when_the_rate_changes():
    bucket = Bucket(0.01)
    assert takes(bucket, 0.0) == 1
    assert bucket.ready_at_s == pytest.approx(100.0)
    bucket.change(1.0, 0.0)
    assert bucket.ready_at_s == pytest.approx(1.0, abs=1e-5)
    bucket.change(0.01, 0.5)
    assert bucket.ready_at_s == pytest.approx(50.5, abs=1e-5)


def test_a_rate_taken_away_and_given_back_starts_with_a_full_bucket():
    bucket = Bucket(2)
    takes(bucket, 0.0)
    bucket.change(None, 0.0)
    assert bucket.ready_at_s <= 0.0
    bucket.change(2, 0.0)
    assert takes(bucket, 0.0) == 2
