import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from msgpack import unpackb

from app.clock import now_ms
from app.domain.post import Event, EventKind
from app.domain.shard import shard_of
from app.errors import StoreUnavailable
from app.gateway.encoding import MSGPACK, EventFrames
from app.gateway.hub import Hub
from app.gateway.limits import Limits
from app.gateway.session import LIVE, READING
from app.store.nodes import Push
from tests.gateway.rig import EVENT, POST_ID, MemoryPosts, Rig, Socket, make_post

SHARDS = 8


class Table:
    """A hub with live sockets, and its routes as far as it asks for them."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.rig = Rig(limits or Limits())
        self.posts = MemoryPosts(make_post())
        self.rejoined: list[str] = []
        self.hub = Hub(
            self.posts,
            SHARDS,
            self.rig.stats,
            group_bytes_max=self.rig.limits.unsent_bytes_max,
            rejoin=self.rejoined.extend,
        )
        self.stack = AsyncExitStack()

    async def __aenter__(self) -> "Table":
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.stack.aclose()

    async def open(self, user: str, head: int = 0, **options: object) -> Socket:
        one = await self.stack.enter_async_context(
            self.rig.live_socket(head=head, token=user, **options)
        )
        self.hub.add(one.connection)
        return one


def push(*recipients: tuple[str, int], event: Event | None = EVENT, shard: int = 0) -> Push:
    return Push(shard, event, recipients)


def burst(user: str, count: int) -> list[Push]:
    """Events 1 … `count`, as one read brings them."""
    return [
        push((user, number), event=Event(POST_ID, number, EventKind.UPDATED))
        for number in range(1, count + 1)
    ]


async def test_a_post_goes_to_every_socket_of_its_recipients_and_to_nobody_else():
    async with Table() as table:
        bobs = [await table.open("bob", 4), await table.open("bob", 4)]
        eve = await table.open("eve", 9)
        ann = await table.open("ann")
        await table.hub.on_pushes([push(("bob", 5), ("eve", 10), ("nobody", 3))])
        for bob in bobs:
            assert await bob.client.offsets(1) == [5]
        assert await eve.client.offsets(1) == [10]
        assert table.rig.stats.frames_sent == 3
        assert ann.connection.session.next == 1


async def test_what_one_read_brought_goes_out_in_one_write(monkeypatch: pytest.MonkeyPatch):
    async with Table() as table:
        bob = await table.open("bob")
        sizes: list[int] = []
        send = type(bob.connection)._send
        monkeypatch.setattr(
            type(bob.connection),
            "_send",
            lambda self, data: sizes.append(len(data)) or send(self, data),
        )
        await table.hub.on_pushes(burst("bob", 20))
        assert await bob.client.offsets(20) == list(range(1, 21))
        assert len(sizes) == 1


async def test_one_write_has_a_bound_so_that_nobody_is_behind_for_one_read():
    """Else a socket would have to take a burst at once, however large."""
    limits = Limits(unsent_bytes_max=4_000)
    async with Table(limits) as table:
        table.posts.posts[POST_ID] = make_post(1_000)
        bob = await table.open("bob")
        await table.hub.on_pushes(burst("bob", 40))
        assert await bob.client.offsets(40) == list(range(1, 41))
        assert table.rig.stats.fallen_behind == 0


async def test_one_event_larger_than_the_bound_is_written_all_the_same():
    async with Table(Limits(unsent_bytes_max=2_000)) as table:
        table.posts.posts[POST_ID] = make_post(20_000)
        bob = await table.open("bob")
        await table.hub.on_pushes(burst("bob", 2))
        assert await bob.client.offsets(2) == [1, 2]


async def test_one_event_goes_out_behind_what_was_collected_before():
    async with Table() as table:
        bob = await table.open("bob")
        frames = EventFrames(EVENT, make_post())
        bob.connection.session.push(1)
        bob.connection.outgoing.append(frames.text.at(1))
        await table.hub.on_pushes([push(("bob", 2)), push(("bob", 1))])
        assert await bob.client.offsets(2) == [1, 2]


async def test_a_burst_is_for_every_encoding_and_for_those_who_missed_some():
    async with Table() as table:
        text, binary = await table.open("bob"), await table.open("bob", encoding=MSGPACK)
        late = await table.open("eve", 7)
        pushes = [*burst("bob", 3), push(("eve", 9), event=Event(POST_ID, 9, EventKind.UPDATED))]
        await table.hub.on_pushes(pushes)
        assert await text.client.offsets(3) == [1, 2, 3]
        frames = [await binary.client.frame() for _ in range(3)]
        assert [unpackb(bytes(frame.data))["offset"] for frame in frames] == [1, 2, 3]
        assert table.rig.asked == [late.connection]


async def test_each_body_is_asked_for_once_for_all_that_was_read():
    async with Table() as table:
        await table.open("bob")
        other = Event(POST_ID, 2, EventKind.UPDATED)
        pushes = [push(("bob", 1)), push(("bob", 2), event=other), push(("eve", 1))]
        await table.hub.on_pushes(pushes)
        assert table.posts.asked == [{EVENT, other}]


async def test_the_time_from_acceptance_is_counted_for_whoever_is_pushed_to():
    """One event alone, and several in one write; not what is left to be read from the inbox."""
    async with Table() as table:
        accepted_ms = now_ms() - 40
        table.posts.posts[POST_ID] = replace(make_post(), created_at_ms=accepted_ms)
        for user, head in (("bob", 0), ("bob", 0), ("eve", 4)):
            await table.open(user, head)
        await table.hub.on_pushes([push(("bob", 1), ("eve", 9))])
        times = table.rig.stats.push_time
        assert sum(times.counts) == 2
        assert 2 * 0.04 <= times.sum < 2 * 10
        edit = Event(POST_ID, 2, EventKind.UPDATED)
        edited = replace(make_post(), version=2, updated_at_ms=now_ms() - 30_000)
        table.posts.posts[POST_ID] = replace(edited, created_at_ms=now_ms() - 90_000)
        await table.hub.on_pushes([push(("bob", 2)), push(("bob", 3), event=edit)])
        assert sum(times.counts) == 6
        assert 2 * 120 <= times.sum < 2 * 150


async def test_the_time_of_an_edit_that_was_overtaken_is_not_known():
    async with Table() as table:
        table.posts.posts[POST_ID] = replace(make_post(), version=3)
        await table.open("bob")
        await table.hub.on_pushes([push(("bob", 1), event=Event(POST_ID, 2, EventKind.UPDATED))])
        assert table.rig.stats.frames_sent == 1
        assert sum(table.rig.stats.push_time.counts) == 0


async def test_who_missed_a_push_reads_the_inbox():
    async with Table() as table:
        bob = await table.open("bob", 4)
        await table.hub.on_pushes([push(("bob", 7)), push(("bob", 8))])
        assert table.rig.asked == [bob.connection]
        assert bob.connection.session.state is READING


async def test_without_bodies_the_recipients_go_on_from_their_inboxes():
    async with Table() as table:
        bob, eve = await table.open("bob"), await table.open("eve")
        table.posts.error = StoreUnavailable("away")
        await table.hub.on_pushes([push(("bob", 1))])
        assert table.rig.asked == [bob.connection]
        assert eve.connection.session.state is LIVE
        assert table.rig.stats.store_failures == 1


async def test_after_an_overflow_the_users_of_the_shard_join_again():
    async with Table() as table:
        users = ["bob", "eve", "ann", "dan", "joe"]
        for user in users:
            await table.open(user)
        shard = shard_of("bob", SHARDS)
        await table.hub.on_pushes([push(event=None, shard=shard)] * 2)
        assert table.rejoined == [user for user in users if shard_of(user, SHARDS) == shard]
        assert table.rig.stats.overflows == 1
        await table.hub.on_pushes([push(event=None, shard=shard)] * 2)
        assert table.rig.stats.overflows == 2


async def test_an_offset_to_be_pushed_again_is_asked_for_by_every_socket_of_its_user():
    async with Table() as table:
        first, second = await table.open("bob", 5), await table.open("bob", 5)
        late = await table.open("bob", 2)
        await table.hub.on_pushes([push(("bob", 3), event=None), push(("nobody", 1), event=None)])
        assert table.rig.repeats == [(first.connection, 3), (second.connection, 3)]
        assert table.rig.asked == [late.connection]
        assert table.rejoined == []
        assert table.rig.stats.overflows == 0


async def test_it_knows_who_is_here():
    async with Table() as table:
        first, second = await table.open("bob"), await table.open("bob")
        eve = await table.open("eve")
        stats = table.rig.stats
        assert (stats.sockets_open, stats.users_here) == (3, 2)
        assert table.hub.of("bob") == (first.connection, second.connection)
        assert set(table.hub.everybody()) == {
            first.connection,
            second.connection,
            eve.connection,
        }
        assert not table.hub.remove(first.connection)
        assert table.hub.remove(second.connection)
        assert table.hub.of("bob") == ()
        assert (stats.sockets_open, stats.users_here) == (1, 1)


async def test_a_long_read_lets_the_loop_go_on():
    async with Table() as table:
        bob = await table.open("bob")
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        await table.hub.on_pushes(burst("bob", 10_000))
        counting.cancel()
        assert turns > 3
        assert bob.connection.session.next > 1
