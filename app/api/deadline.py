"""Deadlines: how long an answer may take."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from app.errors import StoreUnavailable

T = TypeVar("T")


async def within(limit_s: float | None, work: Awaitable[T]) -> T:
    """What comes of `work`. Raises `StoreUnavailable` after `limit_s`; None is no limit.

    Only the store can hold an answer up: nothing else that a call waits for is without a limit.
    """
    limit = asyncio.timeout(limit_s)
    try:
        async with limit:
            return await work
    except TimeoutError:
        if not limit.expired():
            raise
        raise StoreUnavailable(f"no answer within {limit_s} s") from None
