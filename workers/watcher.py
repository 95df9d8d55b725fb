"""Wakes whoever waits for a stream as soon as something is added to it.

Work streams are read by scripts that check the reader's lease, and scripts cannot block. So one
blocking XREAD for all streams of a worker does the waiting and takes nothing: it only says where
there is something to take.
"""

import asyncio
import logging
import random
from dataclasses import dataclass

from app.errors import StoreError
from app.store.client import Entry, Store

log = logging.getLogger(__name__)

BLOCK_MS = 5_000
# While all that is woken is busy, a look now and then is enough: they read on by themselves.
BUSY_PAUSE_S = 0.003
BACKOFF_MAX_S = 2.0


@dataclass(slots=True)
class WatcherStats:
    failures: int = 0


class Watched:
    """One stream, as one reader sees it. `last` is the newest entry the reader knows of.

    `news` is set with `added` and is the reader's to clear: several streams may share an event.
    """

    __slots__ = ("added", "key", "last", "news", "waiting")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.last = b"0"
        self.added = asyncio.Event()
        self.news = True
        self.waiting = False


class StreamWatcher:
    """The blocking reads of one worker: one for each group of shards the store can read at once."""

    def __init__(self, store: Store, stats: WatcherStats) -> None:
        self._store = store
        self._stats = stats
        self._streams: dict[int, dict[bytes, Watched]] = {}
        self._changed = asyncio.Event()

    def watch(self, shard: int, key: bytes, added: asyncio.Event | None = None) -> Watched:
        """Starts watching a stream. Several may set the same event."""
        watched = Watched(key)
        if added is not None:
            watched.added = added
        self._streams.setdefault(shard, {})[key] = watched
        self._changed.set()
        return watched

    def forget(self, shard: int, watched: Watched) -> None:
        self._streams.get(shard, {}).pop(watched.key, None)
        self._changed.set()

    async def run(self) -> None:
        """Watches until cancelled."""
        while True:
            self._changed.clear()
            shards = [shard for shard, streams in self._streams.items() if streams]
            async with asyncio.TaskGroup() as tasks:
                reads = [
                    tasks.create_task(self._read(group), name=f"watch-{group[0]}")
                    for group in self._store.groups(shards)
                ]
                await self._changed.wait()
                for read in reads:
                    read.cancel()

    async def _read(self, shards: list[int]) -> None:
        failures = 0
        while True:
            streams = {w.key: w for shard in shards for w in self._streams[shard].values()}
            last = {key: watched.last for key, watched in streams.items()}
            try:
                replies = await self._store.read_streams(last, count=1, block_ms=BLOCK_MS)
            except StoreError as error:
                failures += 1
                self._stats.failures += 1
                log.warning("store unavailable", extra={"reader": "watcher", "error": str(error)})
                await asyncio.sleep(random.uniform(0.5, 1) * min(BACKOFF_MAX_S, 0.1 * 2**failures))
                continue
            failures = 0
            if not self._wake(streams, replies):
                await asyncio.sleep(BUSY_PAUSE_S)

    def _wake(self, streams: dict[bytes, Watched], replies: dict[bytes, list[Entry]]) -> bool:
        """True when somebody was waiting, or nothing came at all."""
        idle = not replies
        for key, entries in replies.items():
            watched = streams[key]
            watched.last = max(watched.last, entries[-1][0], key=_order)
            watched.news = True
            watched.added.set()
            idle = idle or watched.waiting
        return idle


def _order(entry_id: bytes) -> tuple[int, int]:
    ms, _, sequence = entry_id.partition(b"-")
    return int(ms), int(sequence or 0)
