import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from app.domain.post import Event, EventKind
from app.errors import StoreUnavailable
from app.gateway.repeats import ASKS_MAX, WAITING_MAX, Repeats
from tests.gateway.rig import POST_ID, MemoryPages, MemoryPosts, Rig, make_post, push
from tests.wait import wait_until

EVENTS = [Event(POST_ID, version, EventKind.UPDATED) for version in range(1, 101)]


class Table:
    def __init__(self) -> None:
        self.pages, self.posts = MemoryPages(bob=EVENTS), MemoryPosts(make_post())
        self.rig = Rig()
        self.repeats = Repeats(self.pages, self.posts, self.rig.stats, self.rig.context.notices)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.repeats.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_each_event_asked_for_is_read_and_written_beside_the_others():
    table = Table()
    async with table.running(), table.rig.live_socket(head=100) as one:
        table.repeats.ask(one.connection, 7)
        table.repeats.ask(one.connection, 3)
        table.repeats.ask(one.connection, 7)
        assert await one.client.offsets(2) == [7, 3]
        push(one.connection, 101)
        assert await one.client.offsets(1) == [101]
        assert table.pages.asked == [[("bob", 6, 1), ("bob", 2, 1)]]
        assert table.rig.stats.repeats == 2


async def test_what_has_been_trimmed_away_cannot_be_pushed():
    table = Table()
    table.pages.trimmed["bob"] = 10
    async with table.running(), table.rig.live_socket(head=100) as one:
        table.repeats.ask(one.connection, 7)
        table.repeats.ask(one.connection, 11)
        assert await one.client.offsets(1) == [11]
        await wait_until(lambda: not table.repeats._waiting)
        assert table.rig.stats.repeats == 1


async def test_a_store_that_is_away_is_waited_for():
    table = Table()
    table.pages.error = StoreUnavailable("away")
    async with table.running(), table.rig.live_socket(head=100) as one:
        table.repeats.ask(one.connection, 7)
        await wait_until(lambda: table.rig.stats.store_failures)
        table.pages.error = None
        assert await one.client.offsets(1) == [7]
        assert table.rig.stats.repeats == 1


async def test_only_so_many_wait_and_more_are_dropped_and_counted(
    caplog: pytest.LogCaptureFixture,
):
    table = Table()
    async with table.rig.live_socket(head=2 * WAITING_MAX) as one:
        for offset in range(1, WAITING_MAX + 3):
            table.repeats.ask(one.connection, offset)
        table.repeats.ask(one.connection, 1)
        assert len(table.repeats._waiting) == WAITING_MAX
        assert table.rig.stats.repeats_dropped == 2
        assert [line.limit for line in caplog.records] == ["repeats"]
        async with table.running():
            await wait_until(lambda: not table.repeats._waiting)
        assert max(len(asks) for asks in table.pages.asked) == ASKS_MAX


async def test_a_socket_that_closed_meanwhile_gets_nothing():
    table = Table()
    async with table.rig.live_socket(head=100) as one:
        table.repeats.ask(one.connection, 7)
        one.connection.connection_lost(None)
        async with table.running():
            await wait_until(lambda: not table.repeats._waiting)
        assert table.rig.stats.repeats == 0
