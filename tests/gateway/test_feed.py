import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from app.domain.post import Event, EventKind
from app.errors import StoreUnavailable
from app.gateway.feed import ASKS_MAX, EVENTS_MAX, Feed
from app.gateway.limits import Limits
from app.gateway.session import LIVE
from tests.gateway.rig import POST_ID, MemoryPages, MemoryPosts, Rig, Socket, make_post
from tests.wait import wait_until


def events(count: int) -> list[Event]:
    """Versions of one post: every event is another."""
    return [Event(POST_ID, version, EventKind.UPDATED) for version in range(1, count + 1)]


class Table:
    """A feed, and sockets that ask it."""

    def __init__(self, pages: MemoryPages, *, batch_max: int = 500, **limits: int) -> None:
        self.pages, self.posts = pages, MemoryPosts(make_post())
        self.rig = Rig(Limits(**limits))
        self.feed = Feed(pages, self.posts, self.rig.stats, batch_max=batch_max)
        self.stack = AsyncExitStack()

    async def open(self, user: str, **options: object) -> Socket:
        one = await self.stack.enter_async_context(self.rig.socket(token=user, **options))
        one.connection.go_on()
        self.pass_on()
        return one

    def pass_on(self) -> None:
        for connection in self.rig.asked:
            self.feed.ask(connection)
        self.rig.asked.clear()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.feed.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await self.stack.aclose()


async def test_a_socket_gets_what_it_missed():
    table = Table(MemoryPages(bob=events(5)))
    async with table.running():
        one = await table.open("bob", after=2)
        assert (await one.client.message())["head"] == 5
        assert await one.client.offsets(3) == [3, 4, 5]
        assert one.connection.session.state is LIVE
        assert table.rig.stats.pages_read == 1


async def test_pages_of_many_sockets_are_read_in_one_round_trip_up_to_a_bound():
    table = Table(MemoryPages(bob=events(1)))
    for _ in range(ASKS_MAX + 3):
        await table.open("bob")
    async with table.running():
        await wait_until(lambda: table.rig.stats.frames_sent == ASKS_MAX + 3)
        assert [len(asks) for asks in table.pages.asked] == [ASKS_MAX, 3]


async def test_bodies_are_fetched_in_rounds_of_a_bound():
    count = EVENTS_MAX + 10
    table = Table(MemoryPages(bob=events(count), eve=events(3)))
    async with table.running():
        bob = await table.open("bob")
        eve = await table.open("eve")
        await bob.client.message()
        await eve.client.message()
        assert await bob.client.offsets(count) == list(range(1, count + 1))
        assert await eve.client.offsets(3) == [1, 2, 3]
        assert max(len(asked) for asked in table.posts.asked) == EVENTS_MAX


async def test_a_page_has_a_bound_and_the_next_is_asked_for():
    table = Table(MemoryPages(bob=events(7)), batch_max=3)
    async with table.running():
        one = await table.open("bob")
        hello = await one.client.message()
        assert hello["head"] == 7
        for first in (1, 4, 7):
            count = min(3, 8 - first)
            assert await one.client.offsets(count) == list(range(first, first + count))
            table.pass_on()
        assert one.connection.session.state is LIVE


async def test_a_store_that_is_away_is_waited_for_and_nothing_comes_twice():
    table = Table(MemoryPages(bob=events(2)))
    table.posts.error = StoreUnavailable("away")
    async with table.running():
        one = await table.open("bob")
        await wait_until(lambda: table.rig.stats.store_failures == 1)
        table.pages.error, table.posts.error = StoreUnavailable("away"), None
        await wait_until(lambda: table.rig.stats.store_failures == 2)
        table.pages.error = None
        assert (await one.client.message())["type"] == "hello"
        assert await one.client.offsets(2) == [1, 2]
        assert one.connection.session.state is LIVE


async def test_those_who_waited_are_served_first_and_in_their_order():
    table = Table(MemoryPages())
    table.pages.error = StoreUnavailable("away")
    async with table.running():
        await table.open("bob")
        await table.open("eve")
        await wait_until(lambda: table.rig.stats.store_failures)
        await table.open("ann")
        table.pages.error = None
        await wait_until(lambda: table.rig.stats.pages_read == 3)
    users = [user for user, _, _ in table.pages.asked[-1]]
    assert users == ["bob", "eve", "ann"]


async def test_a_socket_that_has_closed_is_not_read_for_and_not_held():
    table = Table(MemoryPages())
    table.pages.error = StoreUnavailable("away")
    async with table.running():
        one = await table.open("bob")
        other = await table.open("eve")
        await wait_until(lambda: table.rig.stats.store_failures)
        other.connection.connection_lost(None)
        for connection in table.rig.left:
            table.feed.forget(connection)
        assert list(table.feed._waiting) == [one.connection]
        table.pages.error = None
        await wait_until(lambda: table.rig.stats.pages_read)
    assert table.pages.asked[-1] == [("bob", 0, 500)]


async def test_a_socket_that_closes_while_its_page_is_read_is_not_asked_for_again():
    table = Table(MemoryPages(bob=events(1)))
    gate = asyncio.Event()

    class Gated(MemoryPosts):
        async def get(self, events):
            await gate.wait()
            raise StoreUnavailable("away")

    table.feed._posts = Gated()
    async with table.running():
        one = await table.open("bob")
        await wait_until(lambda: table.pages.asked)
        one.connection.connection_lost(None)
        gate.set()
        await wait_until(lambda: table.rig.stats.store_failures)
        assert not table.feed._waiting


async def test_whoever_takes_no_more_gets_only_the_end_of_their_page():
    table = Table(MemoryPages(bob=events(EVENTS_MAX * 3)), unsent_bytes_max=2_048)
    async with table.running():
        one = await table.open("bob", buffer_bytes=4_096)
        await wait_until(lambda: one.connection.session.is_full)
        await wait_until(lambda: not table.feed._waiting)
        assert len(table.posts.asked) < 3
        taken = one.connection.session.next - 1
        await one.client.message()
        assert await one.client.offsets(taken) == list(range(1, taken + 1))
