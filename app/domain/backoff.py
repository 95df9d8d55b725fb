"""When a failed delivery is tried again: schedule, jitter, and what the receiver asks for."""

import re
from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime

RETRY_JITTER = 0.25
RETRY_AFTER_MAX_S = 86_400.0

_SECONDS = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def next_delay_s(
    schedule_s: Sequence[float], attempts_made: int, random: float, jitter: float = RETRY_JITTER
) -> float | None:
    """Seconds to wait after attempt `attempts_made`; None when the schedule is used up.

    `attempts_made` counts those spent since the schedule was (re)started: a replay starts it
    again, and an answer of 429 spends nothing, so it may be 0; the wait is then that of the first
    step. `random` is from 0 to 1 and picks how much of `jitter`, a share of the delay, is added:
    never earlier than scheduled.
    """
    if attempts_made > len(schedule_s):
        return None
    delay_s = schedule_s[max(attempts_made, 1) - 1] if schedule_s else 0.0
    return delay_s * (1.0 + jitter * random)


def parse_retry_after(value: str | None, now_s: float) -> float | None:
    """Seconds from `now_s` (unix time) that a Retry-After asks for; None when it says nothing.

    Takes seconds or any of the date forms of RFC 9110 §5.6.7. What is past is 0. The result may be
    huge, even infinite: cap it.
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        return max(float(text), 0.0)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:  # the form of asctime() names no zone; it is GMT
        date = date.replace(tzinfo=UTC)
    return max(date.timestamp() - now_s, 0.0)


def without_date(retry_after: str | None, now_s: float) -> str | None:
    """A date as seconds from `now_s`, which may be another clock's than the one that decides."""
    text = (retry_after or "").strip()
    if _SECONDS.fullmatch(text):
        return text
    asked_s = parse_retry_after(text, now_s)
    return None if asked_s is None else f"{asked_s:.3f}"


def floor_s(
    retry_after: str | None, now_ms: int, retry_after_max_s: float = RETRY_AFTER_MAX_S
) -> float:
    """Seconds nothing may be sent for, by the receiver's own word; 0 without one."""
    asked_s = parse_retry_after(retry_after, now_ms / 1000)
    return min(asked_s or 0.0, retry_after_max_s)


def retry_at_ms(
    delay_s: float | None,
    retry_after: str | None,
    now_ms: int,
    retry_after_max_s: float = RETRY_AFTER_MAX_S,
) -> int | None:
    """Unix time of the next attempt from `next_delay_s`; None when there is none.

    The receiver's Retry-After can make it later, by `retry_after_max_s` from now at most, and
    never earlier; it does not prolong a schedule that is used up.
    """
    if delay_s is None:
        return None
    wait_s = max(delay_s, floor_s(retry_after, now_ms, retry_after_max_s))
    return now_ms + round(wait_s * 1000)
