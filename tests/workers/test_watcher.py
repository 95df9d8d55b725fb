"""Waking readers of streams: at once, once, and at no cost while they cannot read."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from app.errors import StoreUnavailable
from app.store import keys
from tests.wait import wait_until
from tests.workers.faulty import FaultyStore
from tests.workers.rig import SHARDS, Rig
from workers.watcher import StreamWatcher, Watched, WatcherStats


@asynccontextmanager
async def watching(store: Any) -> AsyncIterator[StreamWatcher]:
    watcher = StreamWatcher(store, WatcherStats())
    run = asyncio.create_task(watcher.run())
    try:
        yield watcher
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


async def reader(store: Any, watched: Watched) -> list[bytes]:
    """Reads all that is there, as a reader with room does."""
    watched.news = False
    entries = await store.execute("XRANGE", watched.key, "-", "+")
    if entries:
        watched.seen(entries[-1][0])
    return [id_ for id_, _ in entries]


async def test_a_reader_is_woken_by_what_is_added_on_every_shard(rig: Rig):
    async with watching(rig.store) as watcher:
        streams = [watcher.watch(t, keys.deliveries(t), asyncio.Event()) for t in range(SHARDS)]
        for watched in streams:
            await reader(rig.store, watched)
        for watched in streams:
            await rig.store.execute("XADD", watched.key, "*", "k", "1")
        for watched in streams:
            async with asyncio.timeout(2):
                await watched.added.wait()
            assert watched.news


async def test_what_is_added_while_a_reader_reads_is_told_of(single_rig: Rig):
    store = single_rig.store
    async with watching(store) as watcher:
        watched = watcher.watch(0, keys.posts(0), asyncio.Event())
        seen = 0
        for number in range(1, 50):
            await store.execute("XADD", watched.key, "*", "k", number)
            async with asyncio.timeout(2):
                await watched.added.wait()
            watched.added.clear()
            if watched.news:
                seen = len(await reader(store, watched))
        await wait_until(lambda: seen == 49 or watched.news)


async def test_a_reader_without_room_is_not_woken_once_for_each_of_many_entries(single_rig: Rig):
    """It knows that there is something: what is looked at then is the end of the stream."""
    store = single_rig.store
    for number in range(2_000):
        await store.execute("XADD", keys.posts(0), "*", "k", number)
    stats = WatcherStats()
    watcher = StreamWatcher(store, stats)
    run = asyncio.create_task(watcher.run())
    watched = watcher.watch(0, keys.posts(0), asyncio.Event())
    watched.waiting = True  # for room: it does not read
    (newest,) = await store.execute("XREVRANGE", keys.posts(0), "+", "-", "COUNT", 1)
    await wait_until(lambda: watched.last == newest[0])
    until = time.monotonic() + 0.1
    await wait_until(lambda: time.monotonic() > until)
    assert stats.reads < 10
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)


async def test_streams_can_come_and_go(single_rig: Rig):
    store = single_rig.store
    async with watching(store) as watcher:
        old = watcher.watch(0, keys.posts(0), asyncio.Event())
        new = watcher.watch(0, keys.posts(0), asyncio.Event())  # another owner's, on the same shard
        watcher.forget(0, old)
        await reader(store, new)
        new.added.clear()
        await store.execute("XADD", keys.posts(0), "*", "k", "1")
        async with asyncio.timeout(2):
            await new.added.wait()
        watcher.forget(0, new)
        watcher.forget(0, new)
        other = watcher.watch(1, keys.posts(1), asyncio.Event())
        await reader(store, other)
        await store.execute("XADD", keys.posts(1), "*", "k", "1")
        async with asyncio.timeout(2):
            await other.added.wait()


async def test_after_an_outage_everybody_looks_again(single_rig: Rig):
    """What comes back may be an emptied store, whose entries are older than those known."""
    real, store = single_rig.store, FaultyStore(single_rig.store)
    await real.execute("XADD", keys.posts(0), f"{2**50}-0", "k", "1")
    async with watching(store) as watcher:
        watched = watcher.watch(0, keys.posts(0), asyncio.Event())
        await wait_until(lambda: watched.last != b"0")
        await reader(real, watched)
        fault = store.fail("XREAD", times=3, error=StoreUnavailable("gone"))
        await real.execute("XADD", keys.posts(0), "*", "k", "2")  # lets it read on, and fail
        await wait_until(lambda: fault.hits == 1)
        await real.broadcast("FLUSHALL")
        await wait_until(lambda: fault.hits == 3)
        assert watched.news
        assert watched.added.is_set()
        await reader(real, watched)
        watched.added.clear()
        await real.execute("XADD", keys.posts(0), "5-0", "k", "3")
        await wait_until(lambda: watched.added.is_set())
        assert await reader(real, watched) == [b"5-0"]
