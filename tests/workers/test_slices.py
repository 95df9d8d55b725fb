"""What waits for what in a cluster, so that whatever server fails nothing is half there."""

from collections.abc import AsyncIterator, Iterable
from typing import Any, cast

import pytest

from app.domain.post import Event, EventKind
from app.errors import NotDurable
from app.store import keys
from app.store.client import Call, Store
from app.store.durability import Ack
from app.store.nodes import Node
from app.wire import decode_event, decode_recipients, stream_fields
from tests.opened_store import opened
from tests.store_servers import StoreCluster
from tests.workers.rig import SHARDS, Rig, users_of
from workers.slices import FanoutLimits, FanoutStats, Slicer, Work

ANN, BEN = users_of(0, 1)[0], users_of(1, 1)[0]
TOKEN = b"one"


def slicer(store: Store, ack: Ack) -> Slicer:
    limits = FanoutLimits(
        retention_s=3_600,
        inbox_max=100,
        inbox_keep=80,
        sockets_backlog_max=100,
        slice_max=500,
        turns_max=32,
        events_max=100,
        ack=ack,
    )
    return Slicer(store, shard=0, shards=SHARDS, token=TOKEN, limits=limits, stats=FanoutStats())


async def new_post(rig: Rig) -> Work:
    """One to a friend of another shard, accepted and on its author's stream."""
    await rig.befriend(ANN, BEN)
    await rig.store.execute("SET", keys.lease(0, keys.FANOUT), TOKEN)
    post = await rig.post(ANN)
    stream = keys.posts(0)
    [(entry, _)] = await rig.store.execute("XRANGE", stream, "-", "+")
    await rig.store.execute("XGROUP", "CREATE", stream, keys.GROUP, "0")
    return Work(entry, Event(post.id, 1, EventKind.CREATED), ANN)


@pytest.fixture
async def unsafe_store(store_cluster: StoreCluster) -> AsyncIterator[Store]:
    """Nobody has a replica there, and no disk is ever asked to sync."""
    async with opened(store_cluster.url, ack_timeout_ms=50) as store:
        await store.broadcast("FLUSHALL")
        await store.broadcast("CONFIG", "SET", "appendfsync", "no")
        yield store
        await store.broadcast("CONFIG", "SET", "appendfsync", "everysec")


@pytest.mark.parametrize("ack", ["fsync", "replica"])
async def test_a_post_that_may_be_lost_is_pushed_to_nobody_yet(
    unsafe_store: Store, store_cluster: StoreCluster, ack: Ack
) -> None:
    rig = Rig.on(unsafe_store)
    work = await new_post(rig)
    async with opened(store_cluster.url, ack_timeout_ms=50) as another:
        for store in (unsafe_store, another):  # the next owner has written nothing itself
            with pytest.raises(NotDurable):
                await slicer(store, ack).take([work])
    assert await rig.inboxes([BEN]) == {BEN: []}


class Listening:
    """A store at which is heard what the calls of each script wait for."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.waits: dict[str, str] = {}

    async def call_many(self, calls: Iterable[Call], *, durable: Ack = "memory") -> list[Any]:
        listed = list(calls)
        self.waits |= dict.fromkeys((call.script for call in listed), durable)
        return await self._store.call_many(listed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def waits(store: Store, ack: Ack) -> dict[str, str]:
    rig, listening = Rig.on(store), Listening(store)
    work = await new_post(rig)
    assert (await slicer(cast(Store, listening), ack).take([work]))[0].ends
    assert await rig.inboxes([BEN]) == {BEN: ["c1"]}
    assert await store.execute("XLEN", keys.posts(0)) == 0
    return listening.waits


async def test_in_a_cluster_each_step_waits_until_the_one_before_is_safe(
    unsafe_store: Store,
) -> None:
    assert await waits(unsafe_store, "replica") == {
        "next_slice": "replica",
        "fan_out": "replica",
        "push_slice": "memory",
        "finish_event": "memory",
    }


async def test_one_server_would_lose_the_slice_with_the_post_but_not_with_what_was_seen(
    single_store: Store,
) -> None:
    assert await waits(single_store, "replica") == {
        "next_slice": "memory",
        "fan_out": "replica",
        "push_slice": "memory",
        "finish_event": "memory",
    }


async def test_nothing_waits_and_gateways_are_told_at_once_unless_it_was_asked_for(
    store: Store,
) -> None:
    assert await waits(store, "memory") == {
        "next_slice": "memory",
        "fan_out": "memory",
        "finish_event": "memory",
    }


@pytest.mark.parametrize("ack", ["memory", "fsync"])
async def test_either_way_gateways_are_told_the_same(single_store: Store, ack: Ack) -> None:
    rig = Rig.on(single_store)
    await Node(single_store, SHARDS, "gateway").join([BEN])
    work = await new_post(rig)
    await slicer(single_store, ack).take([work])
    told = await single_store.execute("XRANGE", keys.sockets(1, "gateway"), "-", "+")
    [fields] = [stream_fields(raw) for _, raw in told]
    assert decode_event(fields[b"e"]) == work.event
    assert decode_recipients(fields[b"r"]) == ((BEN, 1),)
    assert 0 < await single_store.execute("TTL", keys.sockets(1, "gateway")) <= 120


async def test_a_gateway_that_is_far_behind_is_told_so(single_store: Store) -> None:
    rig = Rig.on(single_store)
    await Node(single_store, SHARDS, "gateway").join([BEN])
    stream = keys.sockets(1, "gateway")
    for _ in range(100):
        await single_store.execute("XADD", stream, "*", "o", "1")
    await slicer(single_store, "fsync").take([await new_post(rig)])
    [(_, raw)] = await single_store.execute("XRANGE", stream, "-", "+")
    assert stream_fields(raw) == {b"o": b"1"}
