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
from app.store.client import Store

log = logging.getLogger(__name__)

BLOCK_MS = 5_000
# While all that is woken is busy, a look now and then is enough: they read on by themselves.
BUSY_PAUSE_S = 0.003
BACKOFF_MAX_S = 2.0


@dataclass(slots=True)
class WatcherStats:
    reads: int = 0
    failures: int = 0


class Watched:
    """One stream, as one reader sees it. `last` is the newest entry that was told of.

    `news` is set with `added` and is the reader's to clear, before it reads: several streams may
    share an event. A reader that has read further than it was told says so in `last`.
    """

    __slots__ = ("added", "key", "last", "news", "waiting")

    def __init__(self, key: bytes, added: asyncio.Event) -> None:
        self.key = key
        self.last = b"0"
        self.added = added
        self.news = True
        self.waiting = False

    def seen(self, entry: bytes) -> None:
        """The reader has come as far as this entry."""
        self.last = max(self.last, entry, key=_order)

    def tell(self, entry: bytes) -> None:
        """There is an entry to read."""
        self.seen(entry)
        self.news = True
        self.added.set()


class StreamWatcher:
    """The blocking reads of one worker: one for each group of shards the store can read at once."""

    def __init__(self, store: Store, stats: WatcherStats) -> None:
        self._store = store
        self._stats = stats
        self._streams: dict[int, dict[bytes, Watched]] = {}
        self._changed = asyncio.Event()

    def watch(self, shard: int, key: bytes, added: asyncio.Event) -> Watched:
        """Starts watching a stream. Several may set the same event."""
        watched = Watched(key, added)
        self._streams.setdefault(shard, {})[key] = watched
        self._changed.set()
        return watched

    def forget(self, shard: int, watched: Watched) -> None:
        streams = self._streams.get(shard, {})
        if streams.get(watched.key) is watched:
            del streams[watched.key]
            self._changed.set()

    async def run(self) -> None:
        """Watches until cancelled."""
        while True:
            self._changed.clear()
            shards = [shard for shard, streams in self._streams.items() if streams]
            async with asyncio.TaskGroup() as tasks:
                reads = [
                    tasks.create_task(self._read(self._of(group)), name=f"watch-{group[0]}")
                    for group in self._store.groups(shards)
                ]
                await self._changed.wait()
                for read in reads:
                    read.cancel()

    def _of(self, shards: list[int]) -> dict[bytes, Watched]:
        return {w.key: w for shard in shards for w in self._streams[shard].values()}

    async def _read(self, streams: dict[bytes, Watched]) -> None:
        failures = 0
        while True:
            try:
                idle = await self._wait_for_news(streams)
                failures = 0
            except StoreError as error:
                failures += 1
                await self._wait_out(streams, error, failures)
                continue
            if not idle:
                await asyncio.sleep(BUSY_PAUSE_S)

    async def _wait_for_news(self, streams: dict[bytes, Watched]) -> bool:
        """One read. True when somebody was waiting for what came, or nothing came at all."""
        last = {key: watched.last for key, watched in streams.items()}
        self._stats.reads += 1
        replies = await self._store.read_streams(last, count=1, block_ms=BLOCK_MS)
        told = [streams[key] for key in replies if streams[key].news]
        idle = not replies
        for key, entries in replies.items():
            watched = streams[key]
            idle = idle or (watched.waiting and not watched.news)
            watched.tell(entries[-1][0])
        if told:
            await self._step_over(told)
        return idle

    async def _step_over(self, told: list[Watched]) -> None:
        """Goes to the ends of streams whose readers know, and have not come to it yet.

        Told of one entry after the other, a reader without room would be woken once for each of
        a million, and the store asked as often.
        """
        ends = await self._store.run_many(
            [("XREVRANGE", watched.key, "+", "-", "COUNT", 1) for watched in told]
        )
        for watched, end in zip(told, ends, strict=True):
            if end:
                watched.tell(end[0][0])

    async def _wait_out(
        self, streams: dict[bytes, Watched], error: StoreError, failures: int
    ) -> None:
        self._stats.failures += 1
        log.warning("store unavailable", extra={"reader": "watcher", "error": str(error)})
        pause_s = min(BACKOFF_MAX_S, 0.05 * 2 ** min(failures, 10))
        await asyncio.sleep(random.uniform(0.5, 1) * pause_s)
        # Whoever comes back may be another, or an emptied one that counts from a time before.
        for watched in streams.values():
            watched.last = b"0"
            watched.news = True
            watched.added.set()


def _order(entry_id: bytes) -> tuple[int, int]:
    ms, _, sequence = entry_id.partition(b"-")
    return int(ms), int(sequence or 0)
