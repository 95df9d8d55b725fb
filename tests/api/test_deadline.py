import asyncio

import pytest

from app.api.deadline import within
from app.errors import StoreUnavailable


async def test_what_comes_in_time_is_given_back():
    async def work() -> int:
        return 7

    assert await within(1.0, work()) == 7
    assert await within(None, work()) == 7


async def test_what_takes_too_long_is_cancelled_and_called_unavailable():
    cancelled = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with pytest.raises(StoreUnavailable, match=r"within 0.01 s"):
        await within(0.01, work())
    assert cancelled == [True]


async def test_a_timeout_of_the_works_own_is_not_taken_for_this_one():
    async def work() -> None:
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        await within(1.0, work())
