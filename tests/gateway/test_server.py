"""The gateway on a real store, as its clients see it."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from websockets.exceptions import ConnectionClosed

from app.domain.close_codes import CloseCode
from app.domain.ids import SocketDelivery
from app.domain.post import Event, EventKind
from app.domain.shard import shard_of
from app.gateway.limits import Limits
from app.store import keys
from app.store.client import Store
from app.tokens import LEEWAY_S
from app.wire import post_fields
from tests.gateway.gate import EPOCH, SHARDS, Gate, token_of
from tests.gateway.world import NODE, World, small_listener, world_on
from tests.wait import wait_until


@pytest.fixture
async def world(store: Store) -> AsyncIterator[World]:
    async with world_on(store) as world:
        yield world


@pytest.fixture
async def single_world(single_store: Store) -> AsyncIterator[World]:
    """The same on one server, where a test has nothing to do with clusters."""
    async with world_on(single_store) as world:
        yield world


# What is pushed.


async def test_the_hello_says_where_the_client_stands(world: World):
    await world.publish("bob")
    await world.publish("bob")
    await world.service.inbox.advance({"bob": 1})
    async with world.gate.socket("bob") as socket:
        assert await socket.next() == {
            "type": "hello",
            "user": "bob",
            "epoch": EPOCH,
            "head": 2,
            "cursor": 1,
            "ping_s": 25.0,
        }


@pytest.mark.parametrize("subprotocol", ["moments.v1.json", "moments.v1.msgpack"])
async def test_a_post_is_pushed_to_its_recipients_with_their_own_offsets(
    world: World, subprotocol: str
):
    await world.publish("eve")
    async with (
        world.gate.greeted("bob", subprotocols=[subprotocol]) as bob,
        world.gate.greeted("eve", subprotocols=[subprotocol]) as eve,
    ):
        assert await eve.offsets(1) == [1]
        post = await world.publish("bob", "eve", "nobody", text="hëllo %d")
        told = {
            "type": "post.created",
            "post": {**post_fields(post), "data": json.loads(post.data)},
        }
        assert await bob.next() == {**told, "offset": 1}
        assert await eve.next() == {**told, "offset": 2}


async def test_edits_and_deletions_are_pushed_as_such(single_world: World):
    world = single_world
    async with world.gate.greeted("bob") as bob:
        post = await world.publish("bob")
        await world.service.posts.edit(post.id, b'{"text":"better"}', 5)
        await world.fan_out(Event(post.id, 2, EventKind.UPDATED), "bob")
        await world.service.posts.delete(post.id, 6)
        await world.fan_out(Event(post.id, 3, EventKind.DELETED), "bob")
        created, updated, deleted = await bob.events(3)
        assert created["type"] == "post.created"
        assert (updated["type"], updated["offset"]) == ("post.updated", 2)
        assert updated["post"]["data"] in ({"text": "better"}, None)
        assert (deleted["type"], deleted["post"]["deleted"]) == ("post.deleted", True)


async def test_every_socket_of_a_user_gets_everything(world: World):
    async with world.gate.greeted("bob") as first:
        async with world.gate.greeted("bob") as second:
            await world.publish("bob")
            assert await first.offsets(1) == [1]
            assert await second.offsets(1) == [1]
        await wait_until(lambda: world.gate.stats.sockets_open == 1)
        await world.publish("bob")
        assert await first.offsets(1) == [2]
        assert await world.route("bob") == f"@{NODE}".encode()
    await wait_until(lambda: world.gate.stats.users_here == 0)
    await wait_until(lambda: is_gone(world, "bob"))


async def is_gone(world: World, user: str) -> bool:
    return await world.route(user) is None


async def test_a_burst_comes_whole_and_in_order(world: World):
    async with world.gate.greeted("bob") as bob, world.gate.greeted("eve") as eve:
        for _ in range(100):
            await world.publish("bob", "eve", inbox_max=1_000)
        assert await bob.offsets(100) == list(range(1, 101))
        assert await eve.offsets(100) == list(range(1, 101))


async def test_what_is_posted_while_sockets_open_is_missed_by_none(world: World):
    """Joining and reading overlap with pushes in every order."""
    users = [f"user{number}" for number in range(12)]

    async def listen(user: str) -> list[int]:
        async with world.gate.greeted(user) as socket:
            return await socket.offsets(40)

    async with asyncio.TaskGroup() as tasks:
        heard = [tasks.create_task(listen(user)) for user in users]
        for _ in range(40):
            await world.publish(*users, inbox_max=1_000)
    for one in heard:
        assert one.result() == list(range(1, 41))


# Where it starts.


async def test_it_starts_at_the_cursor_unless_the_client_says_otherwise(world: World):
    for _ in range(4):
        await world.publish("bob")
    await world.service.inbox.advance({"bob": 2})
    async with world.gate.greeted("bob", ack="explicit") as socket:
        assert await socket.offsets(2) == [3, 4]
    async with world.gate.greeted("bob", ack="explicit", after=1, epoch=EPOCH) as socket:
        assert await socket.offsets(3) == [2, 3, 4]
    async with world.gate.greeted("bob", ack="explicit", after=4) as socket:
        await world.publish("bob")
        assert await socket.offsets(1) == [5]


async def test_a_client_of_another_epoch_is_reset_and_gets_all_there_is(world: World):
    for _ in range(2):
        await world.publish("bob")
    async with world.gate.greeted("bob", after=77, epoch="another") as socket:
        assert await socket.next() == {"type": "reset", "epoch": EPOCH}
        assert await socket.offsets(2) == [1, 2]
        assert world.gate.stats.resets == 1


async def test_a_client_ahead_of_its_inbox_is_reset(world: World):
    await world.publish("bob")
    async with world.gate.greeted("bob", after=5, epoch=EPOCH) as socket:
        assert await socket.next() == {"type": "reset", "epoch": EPOCH}
        assert await socket.offsets(1) == [1]


async def test_what_has_been_trimmed_away_is_told_exactly(world: World):
    for _ in range(13):
        await world.publish("bob")
    page = await world.service.inbox.read("bob", 0, 100)
    assert 0 < page.trimmed < 13
    async with world.gate.greeted("bob", after=1) as socket:
        assert await socket.next() == {"type": "gap", "from": 2, "to": page.trimmed}
        rest = list(range(page.trimmed + 1, 14))
        assert await socket.offsets(len(rest)) == rest
        assert world.gate.stats.gaps == 1


async def test_more_than_a_page_was_missed(store: Store):
    async with world_on(store, limits=Limits(resume_batch_max=3, goodbye_spread_s=0)) as world:
        for _ in range(8):
            await world.publish("bob")
        async with world.gate.greeted("bob") as socket:
            assert await socket.offsets(8) == list(range(1, 9))
            assert world.gate.stats.pages_read >= 3


# Acknowledgement.


async def test_what_was_written_is_acknowledged_by_itself(world: World):
    async with world.gate.greeted("bob") as socket:
        post = await world.publish("bob")
        await socket.next()
        await wait_until(lambda: world.has_cursor("bob", 1))
        page = await world.service.ledger.of_post(
            post.id, state=None, channel="socket", after=None, limit=5
        )
        assert [item.state for item in page.items] == ["delivered"]


async def test_with_explicit_acknowledgement_the_client_says_so(world: World):
    async with world.gate.greeted("bob", ack="explicit") as socket:
        for _ in range(3):
            await world.publish("bob")
        await socket.events(3)
        assert await world.cursor("bob") == 0
        await socket.ack(2)
        await wait_until(lambda: world.has_cursor("bob", 2))
        await socket.ack(3)
        await wait_until(lambda: world.has_cursor("bob", 3))
        assert world.gate.stats.acks == 2


async def test_a_client_that_resumes_can_still_acknowledge_where_it_stood(world: World):
    async with world.gate.greeted("bob", ack="explicit") as socket:
        for _ in range(2):
            await world.publish("bob")
        await socket.events(2)
    async with world.gate.greeted("bob", ack="explicit", after=2) as socket:
        await socket.ack(2)
        await wait_until(lambda: world.has_cursor("bob", 2))


async def test_msgpack_clients_acknowledge_in_msgpack(single_world: World):
    world = single_world
    async with world.gate.greeted(
        "bob", ack="explicit", subprotocols=["moments.v1.msgpack"]
    ) as socket:
        await world.publish("bob")
        await socket.next()
        await socket.ack(1)
        await wait_until(lambda: world.has_cursor("bob", 1))


async def test_what_nobody_acknowledges_is_pushed_five_times_and_then_the_socket_closed(
    store: Store,
):
    limits = Limits(ack_timeout_s=0.05, goodbye_spread_s=0)
    async with world_on(store, limits=limits) as world:
        async with world.gate.greeted("bob", ack="explicit") as socket:
            post = await world.publish("bob")
            assert await socket.offsets(5) == [1] * 5
            with pytest.raises(ConnectionClosed):
                await socket.next()
            assert await socket.closed() == CloseCode.UNACKNOWLEDGED
        assert world.gate.stats.repushes == 4
        await wait_until(lambda: has_attempts(world, post.id, 5))
        assert await world.cursor("bob") == 0
        async with world.gate.greeted("bob", ack="explicit") as socket:
            assert await socket.offsets(1) == [1]
            await socket.ack(1)
            await wait_until(lambda: world.has_cursor("bob", 1))


async def has_attempts(world: World, post: str, attempts: int) -> bool:
    page = await world.service.ledger.of_post(
        post, state=None, channel="socket", after=None, limit=5
    )
    return [item.attempts for item in page.items] == [attempts]


# Once more, on request.


async def test_a_retry_pushes_an_offset_again_to_every_socket_of_its_user(world: World):
    async with (
        world.gate.greeted("bob") as auto,
        world.gate.greeted("bob", ack="explicit") as explicit,
        world.gate.greeted("eve") as other,
    ):
        posts = [await world.publish("bob") for _ in range(3)]
        for socket in (auto, explicit):
            assert await socket.offsets(3) == [1, 2, 3]
        await explicit.ack(1)
        await wait_until(lambda: world.has_cursor("bob", 3))
        shard = shard_of("bob", SHARDS)
        for number in (0, 1):  # the one acknowledged everywhere, then one that is not
            delivery = SocketDelivery(posts[number].id, 1, 0, shard, 0)
            assert await world.service.ledger.retry(str(delivery), 1)
            for socket in (auto, explicit):
                event = await socket.next()
                assert (event["offset"], event["post"]["id"]) == (number + 1, posts[number].id)
        await world.publish("bob", "eve")
        for socket in (auto, explicit):
            assert await socket.offsets(1) == [4]
        assert await other.offsets(1) == [1]
        assert world.gate.stats.repeats == 4


async def test_a_retry_of_what_was_trimmed_away_pushes_nothing(single_world: World):
    world = single_world
    async with world.gate.greeted("bob") as socket:
        first = await world.publish("bob")
        for _ in range(9):
            await world.publish("bob")
        assert await socket.offsets(10) == list(range(1, 11))
        delivery = SocketDelivery(first.id, 1, 0, shard_of("bob", SHARDS), 0)
        assert await world.service.ledger.retry(str(delivery), 1)
        await wait_until(lambda: not world.gate.gateway._repeats._waiting)
        await world.publish("bob")
        assert await socket.offsets(1) == [11]
        assert world.gate.stats.repeats == 0


# Slow readers.


async def test_a_slow_reader_falls_behind_and_then_misses_nothing(store: Store):
    limits = Limits(unsent_bytes_max=16_384, goodbye_spread_s=0)
    async with (
        world_on(store, limits=limits, listener=small_listener(8_192)) as world,
        world.gate.greeted("bob", options={"max_queue": 1}) as slow,
        world.gate.greeted("eve") as quick,
    ):
        count = 0
        while not world.gate.stats.sockets_behind:
            await world.publish("bob", "eve", text="x" * 20_000, inbox_max=1_000)
            count += 1
        for _ in range(20):
            await world.publish("bob", "eve", text="x" * 20_000, inbox_max=1_000)
        count += 20
        assert await quick.offsets(count) == list(range(1, count + 1))
        assert world.gate.stats.fallen_behind >= 1  # and may have caught up a little since
        assert await slow.offsets(count) == list(range(1, count + 1))
        await wait_until(lambda: world.gate.stats.sockets_behind == 0)
        await world.publish("bob")
        assert await slow.offsets(1) == [count + 1]
        await wait_until(lambda: world.has_cursor("bob", count + 1))


async def test_a_reader_that_stands_still_is_closed_and_resumes_where_it_was(
    single_store: Store,
):
    limits = Limits(unsent_bytes_max=16_384, slow_timeout_s=0.5, goodbye_spread_s=0)
    async with world_on(single_store, limits=limits, listener=small_listener(8_192)) as world:
        count = 0
        async with world.gate.greeted("bob", options={"max_queue": 1}) as slow:
            while not world.gate.stats.sockets_closed:
                await world.publish("bob", text="x" * 20_000, inbox_max=1_000)
                count += 1
                # Fast enough to keep it behind, slow enough not to fill the backlog.
                await asyncio.sleep(0.01)
            heard = await slow.rest()
            assert await slow.closed() == CloseCode.TOO_SLOW
        assert heard == list(range(1, len(heard) + 1))
        assert await world.cursor("bob") <= len(heard)
        async with world.gate.greeted("bob", after=len(heard)) as again:
            rest = list(range(len(heard) + 1, count + 1))
            assert await again.offsets(len(rest)) == rest


# Time.


async def test_a_client_that_answers_pings_stays(single_store: Store):
    limits = Limits(ping_s=0.2, pong_timeout_s=4, goodbye_spread_s=0)
    async with world_on(single_store, limits=limits) as world:
        async with world.gate.greeted("bob") as socket:
            assert socket.hello["ping_s"] == 0.2
            await asyncio.sleep(1.5)  # several pings: there is nothing to wait for but time
            await world.publish("bob")
            assert await socket.offsets(1) == [1]
        assert 4003 not in world.gate.stats.sockets_closed


async def test_a_client_that_answers_no_ping_is_closed(single_store: Store):
    limits = Limits(ping_s=0.2, pong_timeout_s=0.3, goodbye_spread_s=0)
    async with world_on(single_store, limits=limits) as world:
        async with world.gate.raw() as (reader, writer):
            writer.write(upgrade(world.gate))
            await reader.readuntil((4003).to_bytes(2, "big") + b"no answer to a ping")
        assert world.gate.stats.sockets_closed == {4003: 1}


def upgrade(gate: Gate) -> bytes:
    target = gate.url("bob").removeprefix(f"ws://127.0.0.1:{gate.port}")
    return (
        f"GET {target} HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


async def test_a_socket_ends_with_its_token_unless_that_is_renewed(single_world: World):
    gate = single_world.gate
    short = token_of("bob", ttl_s=2 - LEEWAY_S)
    async with (
        gate.greeted(None, token=short) as ends,
        gate.greeted(None, token=short) as goes_on,
    ):
        await goes_on.say(type="token", token=token_of("bob"))
        with pytest.raises(ConnectionClosed):
            await ends.next()
        assert await ends.closed() == CloseCode.TOKEN_EXPIRED
        await single_world.publish("bob")
        assert await goes_on.offsets(1) == [1]


async def test_a_token_of_somebody_else_ends_the_socket(single_world: World):
    async with single_world.gate.greeted("bob") as socket:
        await socket.say(type="token", token=token_of("eve"))
        assert await socket.closed() == CloseCode.BAD_TOKEN


async def test_what_is_no_message_ends_the_socket_with_a_reason(single_world: World):
    async with single_world.gate.greeted("bob") as socket:
        await socket.say(type="subscribe", to="everything")
        assert await socket.closed() == CloseCode.BAD_MESSAGE
        assert socket.raw.close_reason == "unknown type 'subscribe'"


# The end.


async def test_at_shutdown_everybody_is_told_and_the_store_is_left_clean(store: Store):
    async with world_on(store, limits=Limits(goodbye_spread_s=0.2)) as world:
        async with world.gate.greeted("bob") as bob, world.gate.greeted("eve") as eve:
            await world.publish("bob", "eve")
            for socket in (bob, eve):
                await socket.next()
            world.gate.stop.set()
            for socket in (bob, eve):
                goodbye = await socket.next()
                assert (goodbye["type"], goodbye["reason"]) == ("goodbye", "shutdown")
                assert 100 <= goodbye["reconnect_ms"] <= 2_000
                assert await socket.closed() == CloseCode.GOING_AWAY
        await world.gate.has_ended.wait()
        assert world.gate.stats.sockets_closed == {4001: 2}
        assert [await world.cursor(user) for user in ("bob", "eve")] == [1, 1]
        assert [await world.route(user) for user in ("bob", "eve")] == [None, None]
        assert await store.execute("ZSCORE", keys.NODES, NODE) is None
        streams = [keys.sockets(shard, NODE) for shard in range(SHARDS)]
        assert [await store.execute("EXISTS", stream) for stream in streams] == [0] * SHARDS


async def test_a_gateway_without_sockets_ends_at_once(single_world: World):
    single_world.gate.stop.set()
    async with asyncio.timeout(1):
        await single_world.gate.has_ended.wait()


@pytest.mark.parametrize("was_empty", [False, True], ids=["at first", "after others"])
async def test_whoever_does_not_answer_the_close_is_waited_for_and_then_cut(
    single_store: Store, monkeypatch: pytest.MonkeyPatch, was_empty: bool
):
    """That others have left before must not pass for everybody's having left."""
    monkeypatch.setattr("app.gateway.connection.CLOSE_TIMEOUT_S", 0.3)
    async with world_on(single_store) as world:
        if was_empty:
            async with world.gate.greeted("bob"):
                pass
            await wait_until(lambda: not world.gate.gateway._connections)
        async with world.gate.raw() as (reader, writer):
            writer.write(upgrade(world.gate))
            await wait_until(lambda: world.gate.stats.users_here)
            await reader.readuntil(b"hello")
            world.gate.stop.set()
            async with asyncio.timeout(3):
                await world.gate.has_ended.wait()
            assert world.gate.gateway._connections == 0
            assert b"goodbye" in await reader.read()
