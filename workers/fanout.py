"""Fans the events of one author shard out to their audiences.

A slice is the unit of work and the author the unit of fairness: every author with something to
say gets one slice a round, so that a post to 10,000 delays a post to 100 by one slice at most.
All that a round needs is asked for in a few round trips, however many authors take part.
"""

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from app.clock import now_ms
from app.domain.ids import shard_of_id
from app.domain.traceparent import trace_id_of
from app.errors import DecodeError, LeaseLost, StoreError
from app.store import canary, keys
from app.store.client import Store
from app.wire import decode_event, stream_fields, traceparent_of
from workers.pulse import Pulse
from workers.slices import FanoutLimits, FanoutStats, Slicer, Turn, Work
from workers.watcher import StreamWatcher, Watched

if TYPE_CHECKING:
    from app.tracing import Tracer

log = logging.getLogger(__name__)

READ_MAX = 128
LONG_GAP_S = 0.005  # between slices of a post that is a long one, as long as a slice takes
BACKOFF_MAX_S = 2.0


class FanoutShard:
    """Owns the posts stream of one shard while it holds the lease on it."""

    def __init__(
        self,
        store: Store,
        watcher: StreamWatcher,
        *,
        shard: int,
        shards: int,
        token: bytes,
        limits: FanoutLimits,
        stats: FanoutStats,
        tracer: "Tracer | None" = None,
    ) -> None:
        self._store = store
        self._tracer = tracer
        self._watcher = watcher
        self._shard = shard
        self._token = token
        self._limits = limits
        self._stats = stats
        self._slicer = Slicer(
            store,
            shard=shard,
            shards=shards,
            token=token,
            limits=limits,
            stats=stats,
            tracer=tracer,
        )
        self._lease = keys.lease(shard, keys.FANOUT)
        self._stream = keys.posts(shard)
        # Authors with work take turns in the order of this ring; each one's events in theirs.
        self._ring: deque[str] = deque()
        self._queues: dict[str, deque[Work]] = {}
        self._held: set[bytes] = set()
        self._stopping = False
        self._wake = asyncio.Event()
        self.pulse = Pulse()

    def stop(self) -> None:
        """Lets the round under way finish, then `run` returns."""
        self._stopping = True
        self._wake.set()

    def abandon(self) -> None:
        """The shard is another worker's; every script refuses what this one still tries."""
        self.stop()

    async def run(self) -> None:
        """Works until `stop`, or raises `LeaseLost`. Store outages are waited out."""
        watched = self._watcher.watch(self._shard, self._stream, self._wake)
        failures = 0
        resume: bytes | None = b"0"
        try:
            while not self._stopping:
                self._wake.clear()
                self.pulse.begin()
                try:
                    if resume is not None:
                        resume = await self._take_over(resume)
                        continue
                    await self._step(watched)
                    failures = 0
                except StoreError as error:
                    failures += 1
                    # A read whose answer was lost has made entries pending that nobody here knows;
                    # one that was never carried out has left entries that were told of already.
                    resume = b"0"
                    watched.news = True
                    await self._wait_out(error, failures)
        finally:
            self.pulse.rest()
            self._stats.held -= len(self._held)
            self._watcher.forget(self._shard, watched)
            self._leave_spans()

    async def _step(self, watched: Watched) -> None:
        """Reads what is new, then one round; or waits when there is nothing to do."""
        if watched.news:
            await self._read(watched)
        if self._ring:
            await self._round()
            if self._ring and all(self._queues[author][0].is_long for author in self._ring):
                await self._let_others()
        elif not watched.news:
            watched.waiting = True
            self.pulse.rest()
            await self._wake.wait()
            watched.waiting = False

    async def _let_others(self) -> None:
        """Only large posts are left here: small ones of other shards want the store, too."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONG_GAP_S):
                await self._wake.wait()

    async def _wait_out(self, error: StoreError, failures: int) -> None:
        self._stats.failures += 1
        log.warning(
            "fan-out waits for the store", extra={"shard": self._shard, "error": str(error)}
        )
        pause_s = random.uniform(0.5, 1) * min(BACKOFF_MAX_S, 0.05 * 2 ** min(failures, 10))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                while not self._stopping:
                    await self._wake.wait()
                    self._wake.clear()

    # Reading

    async def _entries(self, count: int, after: bytes) -> list[Any]:
        entries = await self._store.call(
            "read_group",
            [self._lease, self._stream],
            [self._token, keys.GROUP, keys.CONSUMER, count, after],
        )
        if entries == b"lost":
            raise LeaseLost(f"fan-out of shard {self._shard}")
        return entries

    async def _take_over(self, after: bytes) -> bytes | None:
        """Re-reads what the last owner had in flight; None when that is all."""
        entries = await self._entries(READ_MAX, after)
        if not entries:
            return None
        self._stats.takeovers += len(entries)
        await self._admit(entries)
        return entries[-1][0]

    async def _read(self, watched: Watched) -> None:
        """Reads new events while there is room for them."""
        room = min(READ_MAX, self._limits.events_max - len(self._held))
        if room <= 0:
            self._stats.paused += 1
            return  # whatever is finished makes room
        watched.news = False
        entries = await self._entries(room, b">")
        if entries:
            watched.seen(entries[-1][0])
            watched.news |= (is_full := len(entries) == room)
            self._stats.paused += is_full and room < READ_MAX
            await self._admit(entries)

    async def _admit(self, entries: Sequence[Any]) -> None:
        bare: list[tuple[bytes, dict[bytes, bytes]]] = []
        for id_, raw in entries:
            if id_ in self._held:
                continue
            fields = stream_fields(raw or ())
            try:
                self._enqueue(self._begin(_work(id_, fields), fields))
            except (DecodeError, KeyError, UnicodeDecodeError):
                bare.append((id_, fields))
        for id_, fields in bare:
            await self._finish_bare(id_, fields)

    def _begin(self, work: Work, fields: dict[bytes, bytes]) -> Work:
        """With its span, when it is traced: from now until its last slice is fanned out."""
        if self._tracer is not None and (traceparent := traceparent_of(fields)) is not None:
            event = work.event
            attributes = {
                "moments.post": event.post,
                "moments.version": event.version,
                "moments.kind": event.kind.word,
                "moments.shard": self._shard,
            }
            work.span = self._tracer.begin("fan out", "consumer", traceparent, attributes)
        return work

    def _leave_spans(self) -> None:
        """What is not fanned out by now is the next owner's, who begins a span of their own."""
        for queue in self._queues.values():
            for work in queue:
                if work.span is not None:
                    work.span.fail("left to the next owner")
                    work.span.end()

    def _enqueue(self, work: Work) -> None:
        queue = self._queues.get(work.author)
        if queue is None:
            queue = self._queues[work.author] = deque()
            self._ring.append(work.author)
        queue.append(work)
        self._held.add(work.entry)
        self._stats.held += 1

    async def _finish_bare(self, entry: bytes, fields: dict[bytes, bytes]) -> None:
        """Takes away an entry that is no event: a canary, or one that nobody can read."""
        born = fields.get(b"k", b"")
        if born.isdigit():
            await canary.hand_on(self._store, self._shard, int(born))
        elif fields:
            log.error("entry cannot be read", extra={"entry": entry, "fields": fields})
        await self._store.run_many(
            [("XACK", self._stream, keys.GROUP, entry), ("XDEL", self._stream, entry)]
        )

    # Turns

    async def _round(self) -> None:
        """One slice for each of the authors whose turn it is."""
        authors = [self._ring[i] for i in range(min(len(self._ring), self._limits.turns_max))]
        turns = await self._slicer.take([self._queues[author][0] for author in authors])
        for turn in turns:
            if turn.ends:
                self._finish(turn)
        for _ in authors:
            self._rotate()

    def _finish(self, turn: Turn) -> None:
        self._queues[turn.work.author].popleft()
        self._held.discard(turn.work.entry)
        self._stats.held -= 1
        self._stats.events += 1
        lag_ms = max(now_ms() - int(turn.work.entry.partition(b"-")[0]), 0)
        self._stats.time.observe(lag_ms / 1000)
        _tell(turn.work, lag_ms)

    def _rotate(self) -> None:
        """Sends the first author to the end of the ring, or away when nothing is left."""
        author = self._ring.popleft()
        if self._queues[author]:
            self._ring.append(author)
        else:
            del self._queues[author]


def _tell(work: Work, lag_ms: int) -> None:
    """One wide line for each event, and the end of its span. Recipients are those that this worker
    fanned it out to: whoever began before a takeover counted theirs."""
    event, traced = work.event, {}
    if work.span is not None:
        work.span.add(
            {
                "moments.recipients": work.recipients,
                "moments.webhooks": work.webhooks,
                "moments.sockets": work.sockets,
            }
        )
        work.span.end()
        traced = {"trace": trace_id_of(work.span.traceparent)}
    log.info(
        "fanned out",
        extra={
            "post": event.post,
            "version": event.version,
            "kind": event.kind.word,
            "author": work.author,
            "recipients": work.recipients,
            "webhooks": work.webhooks,
            "sockets": work.sockets,
            "slices": work.finished + 1,
            "shard": shard_of_id(event.post),
            "lag_ms": lag_ms,
            **traced,
        },
    )


def _work(entry: bytes, fields: dict[bytes, bytes]) -> Work:
    """Raises `DecodeError`, KeyError and UnicodeDecodeError."""
    spared = fields.get(b"x", b"").decode()
    return Work(entry, decode_event(fields[b"e"]), fields[b"a"].decode(), spared=spared)
