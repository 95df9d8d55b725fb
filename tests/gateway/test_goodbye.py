import asyncio
import time
from contextlib import AsyncExitStack

import pytest

from app.domain.close_codes import CloseCode
from app.gateway.goodbye import RECONNECT_MS, say_goodbye
from tests.gateway.rig import Rig


@pytest.mark.parametrize("spread_s", [0.0, 0.4])
async def test_everybody_is_told_when_to_come_back_and_closed(spread_s: float):
    rig = Rig()
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(rig.live_socket()) for _ in range(16)]
        begun = time.monotonic()
        await say_goodbye([one.connection for one in sockets], spread_s)
        took_s = time.monotonic() - begun
        messages = [await one.client.message() for one in sockets]
        codes = {(await one.client.close_frame()).code for one in sockets}
    assert codes == {CloseCode.GOING_AWAY}
    assert {message["type"] for message in messages} == {"goodbye"}
    delays_ms = [message["reconnect_ms"] for message in messages]
    assert all(RECONNECT_MS[0] <= delay_ms <= RECONNECT_MS[1] for delay_ms in delays_ms)
    assert len(set(delays_ms)) > 4
    assert spread_s / 3 <= took_s < 5


async def test_they_are_told_one_part_after_the_other():
    rig = Rig()
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(rig.live_socket()) for _ in range(16)]
        goodbye = asyncio.create_task(say_goodbye([one.connection for one in sockets], 0.4))
        seen: set[int] = set()
        while not goodbye.done():
            seen.add(rig.stats.sockets_closed[4001])
            await asyncio.sleep(0)
    assert len(seen) > 4


async def test_nobody_is_told_twice_and_nobody_there_is_no_trouble():
    rig = Rig()
    await say_goodbye([], 5.0)
    async with rig.live_socket() as one:
        one.connection.close(CloseCode.FLOOD)
        await say_goodbye([one.connection], 0)
        assert (await one.client.close_frame()).code == CloseCode.FLOOD
    assert rig.stats.sockets_closed == {4502: 1}
