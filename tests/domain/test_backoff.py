"""Retry times: properties of the schedule, and everything a Retry-After may hold."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.domain.backoff import (
    floor_s,
    next_delay_s,
    parse_retry_after,
    retry_at_ms,
    without_date,
)

SCHEDULE_S = (5, 30, 120, 600, 3_600, 10_800, 28_800, 86_400)
NOW_S = 784_111_777  # Sun, 06 Nov 1994 08:49:37 GMT
NOW_MS = NOW_S * 1000

schedules = st.lists(st.floats(0, 604_800), max_size=32)
randoms = st.floats(0, 1, exclude_max=True)
retry_afters = st.none() | st.text(max_size=40) | st.integers(-10, 10**9).map(str)

# Garbage that looks like a date as far as it can.
date_words = st.sampled_from(
    ["Sun,", "Nov", "06", "6", "94", "1994", "08:49:37", "8:49", "GMT", "+9999", "-0000", "EST",
     "99999999999999999999", "0", "-1", ",", ":", "-", "Sunday,", "06-Nov-94", "(c)", "\x00", "٣"]
)  # fmt: skip
date_like = st.lists(date_words, max_size=9).map(" ".join)


# The schedule


@pytest.mark.parametrize(("attempts_made", "delay_s"), list(enumerate(SCHEDULE_S, start=1)))
def test_the_delay_after_an_attempt_is_its_step_of_the_schedule(attempts_made, delay_s):
    assert next_delay_s(SCHEDULE_S, attempts_made, random=0.0) == delay_s


def test_after_one_attempt_more_than_steps_the_schedule_is_used_up():
    assert next_delay_s(SCHEDULE_S, 8, random=0.0) is not None
    assert next_delay_s(SCHEDULE_S, 9, random=0.0) is None
    assert next_delay_s((), 1, random=0.0) is None


def test_while_no_attempt_is_spent_the_first_step_holds_and_nothing_is_used_up():
    assert next_delay_s(SCHEDULE_S, 0, random=0.0) == 5
    assert next_delay_s((), 0, random=0.5) == 0.0


@given(schedules, st.integers(0, 40), randoms, st.floats(0, 1))
def test_jitter_is_only_added_and_never_more_than_its_share(schedule, attempts, random, jitter):
    delay_s = next_delay_s(schedule, attempts, random, jitter)
    if attempts > len(schedule):
        assert delay_s is None
    else:
        step_s = schedule[max(attempts, 1) - 1] if schedule else 0.0
        assert delay_s is not None
        assert step_s <= delay_s <= step_s * (1 + jitter)


@given(st.floats(1, 604_800))
def test_jitter_spreads_over_its_whole_share(step_s):
    assert next_delay_s([step_s], 1, random=0.0) == step_s
    assert next_delay_s([step_s], 1, random=1.0) == pytest.approx(step_s * 1.25)


# What the receiver asks for


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 120 ", 120.0),
        ("1.5", 1.5),
        ("-5", 0.0),
        ("9" * 5000, float("inf")),
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
        ("Sunday, 06-Nov-94 08:50:37 GMT", 60.0),
        ("Sun Nov  6 08:50:37 1994", 60.0),
        ("Sun, 06 Nov 1994 09:50:37 +0100", 60.0),
        ("Sun, 06 Nov 1994 08:49:36 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
    ],
)
def test_seconds_and_every_form_of_a_date_are_understood(value, seconds):
    assert parse_retry_after(value, NOW_S) == seconds


@pytest.mark.parametrize(
    "value",
    [
        None, "", " ", "soon", "1e3", "0x10", "1_0", "+5", "5s", "5, 6", "--5", "inf", "nan",
        "\u0663", "\uff15", "Sun, 99 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 +99999999",
    ],
)  # fmt: skip
def test_garbage_asks_for_nothing(value):
    assert parse_retry_after(value, NOW_S) is None


@given(st.text() | date_like)
@example("6 Nov 99999999999999999999 08:49:37")
def test_whatever_the_header_holds_parsing_does_not_raise_and_is_never_negative(value):
    seconds = parse_retry_after(value, NOW_S)
    assert seconds is None or seconds >= 0


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)), st.integers(0, 2**32))
def test_a_date_asks_for_the_time_until_it(date, now_s):
    date = date.replace(microsecond=0, tzinfo=UTC)
    value = format_datetime(date, usegmt=True)
    assert parse_retry_after(value, now_s) == max(date.timestamp() - now_s, 0)


def test_the_floor_is_capped_and_nothing_without_a_header():
    assert floor_s(None, NOW_MS) == 0
    assert floor_s("120", NOW_MS) == 120
    assert floor_s("9" * 400, NOW_MS) == 86_400
    assert floor_s("120", NOW_MS, retry_after_max_s=10) == 10


# Both together


def test_retry_after_makes_the_next_attempt_later_and_never_earlier():
    assert retry_at_ms(5.0, None, NOW_MS) == NOW_MS + 5_000
    assert retry_at_ms(5.0, "1", NOW_MS) == NOW_MS + 5_000
    assert retry_at_ms(5.0, "60", NOW_MS) == NOW_MS + 60_000
    assert retry_at_ms(5.0, "Sun, 06 Nov 1994 08:50:37 GMT", NOW_MS) == NOW_MS + 60_000


def test_retry_after_is_obeyed_for_a_day_and_does_not_shorten_a_longer_delay():
    assert retry_at_ms(5.0, "604800", NOW_MS) == NOW_MS + 86_400_000
    assert retry_at_ms(108_000.0, "604800", NOW_MS) == NOW_MS + 108_000_000


def test_retry_after_does_not_prolong_a_schedule_that_is_used_up():
    assert retry_at_ms(None, "60", NOW_MS) is None


@given(st.floats(0, 604_800), retry_afters, st.integers(0, 2**45), st.floats(0, 604_800))
def test_the_next_attempt_lies_between_its_delay_and_the_cap(delay_s, value, now_ms, max_s):
    at_ms = retry_at_ms(delay_s, value, now_ms, max_s)
    assert at_ms is not None
    assert round(delay_s * 1000) <= at_ms - now_ms <= round(max(delay_s, max_s) * 1000)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", "120"),
        (" 1.5 ", "1.5"),
        ("Thu, 01 Jan 1970 00:16:50 GMT", "10.000"),
        ("Thu, 01 Jan 1970 00:00:00 GMT", "0.000"),
        ("soon", None),
        (None, None),
    ],
)
def test_a_date_can_be_turned_into_seconds_for_another_clock(value, seconds):
    assert without_date(value, 1_000.0) == seconds
