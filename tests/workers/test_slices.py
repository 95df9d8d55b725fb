"""When an event may be closed: once what was fanned out is as safe as its post."""

from typing import Any

import pytest

from app.domain.post import Event, EventKind
from app.errors import NotDurable
from app.store import keys
from app.store.client import Store
from tests.opened_store import opened
from tests.workers.rig import SHARDS, Rig, users_of
from workers.slices import FanoutLimits, FanoutStats, Slicer, Work

ANN = users_of(0, 1)[0]
TOKEN = b"one"


def slicer(store: Store, ack: Any) -> Slicer:
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
    await rig.befriend(ANN, users_of(1, 1)[0])
    await rig.store.execute("SET", keys.lease(0, keys.FANOUT), TOKEN)
    post = await rig.post(ANN)
    stream = keys.posts(0)
    [(entry, _)] = await rig.store.execute("XRANGE", stream, "-", "+")
    await rig.store.execute("XGROUP", "CREATE", stream, keys.GROUP, "0")
    return Work(entry, Event(post.id, 1, EventKind.CREATED), ANN)


@pytest.mark.parametrize("ack", ["fsync", "replica"])
async def test_in_a_cluster_an_event_stays_open_while_its_slice_may_be_lost(
    store_cluster: Any, ack: str
) -> None:
    """Nobody has a replica here, and no disk is ever asked to sync."""
    async with opened(store_cluster.url, ack_timeout_ms=50) as store:
        await store.broadcast("FLUSHALL")
        await store.broadcast("CONFIG", "SET", "appendfsync", "no")
        rig = Rig.on(store)
        work = await new_post(rig)
        try:
            with pytest.raises(NotDurable):
                await slicer(store, ack).take([work])
        finally:
            await store.broadcast("CONFIG", "SET", "appendfsync", "everysec")
        assert await store.execute("XLEN", keys.posts(0)) == 1
        while not (await slicer(store, "memory").take([work]))[0].ends:
            pass  # the next owner first takes the same slice again
        assert await store.execute("XLEN", keys.posts(0)) == 0


async def test_one_server_loses_the_closing_before_the_slice_so_that_nothing_is_waited_for(
    single_store: Store,
) -> None:
    rig = Rig.on(single_store)
    work = await new_post(rig)
    await slicer(single_store, "replica").take([work])
    assert await single_store.execute("XLEN", keys.posts(0)) == 0
