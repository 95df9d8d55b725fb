"""Waiting for something to become true, instead of sleeping and hoping."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.005


async def wait_until(
    condition: Callable[[], T | Awaitable[T]], timeout_s: float = 5.0, poll_s: float = POLL_S
) -> T:
    """Polls `condition`, plain or async, until it is true, and returns what it gave.

    Fails the test, with the last value, after `timeout_s`. Something that is costly to look at
    should be given a longer `poll_s`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not true after {timeout_s} s: {condition} gave {found!r}")
        await asyncio.sleep(poll_s)


def block_until(condition: Callable[[], T], timeout_s: float = 5.0) -> T:
    """The same for tests without an event loop."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not true after {timeout_s} s: {condition} gave {found!r}")
        time.sleep(POLL_S)
    return found
