"""Fans the events of one author shard out to their audiences.

A slice is the unit of work and the author the unit of fairness: every author with something to
say gets one slice a round, so that a post to 10,000 delays a post to 100 by one slice at most.
All that a round needs is asked for in three calls, however many authors take part.
"""

import asyncio
import contextlib
import logging
import random
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from app.clock import now_ms
from app.domain.ids import shard_of_id
from app.domain.post import Audience, Event, EventKind
from app.domain.shard import shard_of
from app.errors import DecodeError, LeaseLost, StoreError
from app.metrics import Histogram
from app.store import canary, keys
from app.store.client import Call, Store
from app.wire import (
    decode_audience,
    decode_event,
    decode_roster,
    encode_event,
    encode_time,
    encode_users,
    stream_fields,
)
from workers.pulse import Pulse
from workers.watcher import StreamWatcher, Watched

log = logging.getLogger(__name__)

READ_MAX = 128
BACKOFF_MAX_S = 2.0


@dataclass(frozen=True, slots=True)
class FanoutLimits:
    """The settings a fan-out worker goes by."""

    retention_s: int
    inbox_max: int
    inbox_keep: int
    sockets_backlog_max: int
    slice_max: int
    turns_max: int
    events_max: int
    sockets_ttl_s: int = 120


@dataclass(slots=True)
class FanoutStats:
    """Counters of one worker, all shards together."""

    events: int = 0
    slices: int = 0
    recipients: int = 0
    webhooks: int = 0
    cancelled: int = 0
    failures: int = 0
    takeovers: int = 0
    held: int = 0  # events in memory now
    time: Histogram = field(default_factory=Histogram)  # from accepted to fanned out


@dataclass(slots=True)
class _Work:
    """One event on its way. `finished` is the slice fanned out last, -1 at (re)start."""

    entry: bytes
    event: Event
    author: str
    finished: int = -1
    audience: Audience | None = None


@dataclass(slots=True)
class _Turn:
    """One slice of one event: who gets it, by recipient shard."""

    work: _Work
    slice: int
    last: bool
    type: str = ""
    deleted: bool = False
    members: list[str] = field(default_factory=list[str])
    by_shard: dict[int, list[str]] = field(default_factory=dict[int, list[str]])


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
    ) -> None:
        self._store = store
        self._watcher = watcher
        self._shard = shard
        self._shards = shards
        self._token = token
        self._limits = limits
        self._stats = stats
        self._lease = keys.lease(shard, keys.FANOUT)
        self._stream = keys.posts(shard)
        # Authors with work take turns in the order of this ring; each one's events in theirs.
        self._ring: deque[str] = deque()
        self._queues: dict[str, deque[_Work]] = {}
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
                self.pulse.begin()
                try:
                    self._wake.clear()
                    if resume is not None:
                        resume = await self._take_over(resume)
                        continue
                    await self._step(watched)
                    failures = 0
                except StoreError as error:
                    failures += 1
                    # A read whose answer was lost has made entries pending that nobody here knows.
                    resume = b"0"
                    await self._wait_out(error, failures)
        finally:
            self.pulse.rest()
            self._stats.held -= len(self._held)
            self._watcher.forget(self._shard, watched)

    async def _step(self, watched: Watched) -> None:
        """Reads what is new, then one round; or waits when there is nothing to do."""
        more = await self._read(watched)
        if self._ring:
            await self._round()
        elif not more:
            watched.waiting = True
            self.pulse.rest()
            await self._wake.wait()
            watched.waiting = False

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

    async def _read(self, watched: Watched) -> bool:
        """Reads new events while there is room. True when there may be more."""
        room = min(READ_MAX, self._limits.events_max - len(self._held))
        if room <= 0:
            return True
        entries = await self._entries(room, b">")
        if entries:
            watched.last = entries[-1][0]
            await self._admit(entries)
        return len(entries) == room

    async def _admit(self, entries: Sequence[Any]) -> None:
        bare: list[tuple[bytes, int | None]] = []
        for id_, raw in entries:
            if id_ in self._held:
                continue
            fields = stream_fields(raw) if raw else {}
            if b"e" not in fields:
                born = fields.get(b"k")
                bare.append((id_, int(born) if born else None))
                continue
            try:
                self._enqueue(_Work(id_, decode_event(fields[b"e"]), fields[b"a"].decode()))
            except DecodeError as error:
                log.error("entry cannot be read", extra={"entry": id_, "error": str(error)})
                bare.append((id_, None))
        for id_, born_ms in bare:
            if born_ms is not None:
                await canary.hand_on(self._store, self._shard, born_ms)
            await self._finish_bare(id_)

    def _enqueue(self, work: _Work) -> None:
        queue = self._queues.get(work.author)
        if queue is None:
            queue = self._queues[work.author] = deque()
            self._ring.append(work.author)
        queue.append(work)
        self._held.add(work.entry)
        self._stats.held += 1

    async def _finish_bare(self, entry: bytes) -> None:
        await self._store.run_many(
            [("XACK", self._stream, keys.GROUP, entry), ("XDEL", self._stream, entry)]
        )

    async def _round(self) -> None:
        """One slice for each of the authors whose turn it is."""
        authors = [self._ring[i] for i in range(min(len(self._ring), self._limits.turns_max))]
        works = [self._queues[author][0] for author in authors]
        turns = await self._next_slices(works)
        await self._find_recipients(turns)
        await self._cancel(turns)
        await self._fan_out(turns)
        for turn in turns:
            turn.work.finished = turn.slice
        await self._finish([turn for turn in turns if turn.last or turn.slice < 0])
        for _ in authors:
            self._rotate()

    def _rotate(self) -> None:
        """Sends the first author to the end of the ring, or away when nothing is left."""
        author = self._ring.popleft()
        if self._queues[author]:
            self._ring.append(author)
        else:
            del self._queues[author]

    async def _next_slices(self, works: Sequence[_Work]) -> list[_Turn]:
        calls = [self._next_slice_call(work) for work in works]
        turns: list[_Turn] = []
        for work, answer in zip(works, await self._store.call_many(calls), strict=True):
            if answer == b"lost":
                raise LeaseLost(f"fan-out of shard {self._shard}")
            if answer == b"missing":
                turns.append(_Turn(work, -1, last=True))
                continue
            number, last, deleted, type_, audience, *members = answer
            turn = _Turn(work, number, bool(last), type_.decode(), bool(deleted))
            if work.audience is None:
                work.audience = decode_audience(audience)
            admits = work.audience.admits
            turn.members = [user for user in map(bytes.decode, members) if admits(user)]
            turns.append(turn)
        return turns

    def _next_slice_call(self, work: _Work) -> Call:
        shard, author = self._shard, work.author
        return Call(
            "next_slice",
            [
                self._lease,
                keys.post(shard, work.event.post),
                keys.friends(shard, author),
                keys.followers(shard, author),
                keys.blocks(shard, author),
                keys.blockers(shard, author),
            ],
            [self._token, work.event.version, work.finished, self._limits.slice_max],
        )

    async def _find_recipients(self, turns: Sequence[_Turn]) -> None:
        """Fills in who gets each slice: the page for a new post, the roster for later events."""
        later: list[_Turn] = []
        for turn in turns:
            if turn.slice < 0:
                continue
            if turn.work.event.version > 1:
                later.append(turn)
            elif turn.deleted:
                # Deleted while being fanned out: nobody else needs to see it come and go.
                turn.last = True
            else:
                by_shard: defaultdict[int, list[str]] = defaultdict(list)
                for user in turn.members:
                    by_shard[shard_of(user, self._shards)].append(user)
                turn.by_shard = by_shard
        if later:
            await self._read_rosters(later)

    async def _read_rosters(self, turns: Sequence[_Turn]) -> None:
        """An edit or deletion goes to exactly those that the post went to."""
        places = [(turn, shard) for turn in turns for shard in range(self._shards)]
        raws = await self._store.run_many(
            [
                ("GET", keys.roster(shard, turn.work.event.post, 1, turn.slice))
                for turn, shard in places
            ]
        )
        for (turn, shard), raw in zip(places, raws, strict=True):
            if raw is not None:
                turn.by_shard[shard] = list(decode_roster(raw).users)
        for turn in turns:
            if turn.work.event.kind is EventKind.UPDATED:
                await self._drop_blocked(turn)

    async def _drop_blocked(self, turn: _Turn) -> None:
        """Whoever has blocked, or been blocked, since the post does not see what it became."""
        users = [user for members in turn.by_shard.values() for user in members]
        if not users:
            return
        author = turn.work.author
        answers = await self._store.run_many(
            [
                ("ZMSCORE", keys.blocks(self._shard, author), *users),
                ("ZMSCORE", keys.blockers(self._shard, author), *users),
            ]
        )
        gone = {
            user
            for scores in answers
            for user, score in zip(users, scores, strict=True)
            if score is not None
        }
        for shard, members in turn.by_shard.items():
            turn.by_shard[shard] = [user for user in members if user not in gone]

    async def _cancel(self, turns: Sequence[_Turn]) -> None:
        """A deletion first takes back what is still pending of the versions before it."""
        calls: list[Call] = []
        stamp = encode_time(now_ms())
        for turn in turns:
            if turn.slice < 0 or turn.work.event.kind is not EventKind.DELETED:
                continue
            post = turn.work.event.post
            calls += [
                Call(
                    "cancel_slice",
                    [
                        keys.roster(shard, post, version, turn.slice),
                        keys.outcomes(shard, post, version, turn.slice),
                        keys.tally(shard, post),
                        keys.retries(shard),
                    ],
                    [
                        *(keys.tag(shard), post, version, turn.slice),
                        *(stamp, self._limits.retention_s),
                    ],
                )
                for shard in turn.by_shard
                for version in range(1, turn.work.event.version)
            ]
        if calls:
            self._stats.cancelled += sum(await self._store.call_many(calls))

    async def _fan_out(self, turns: Sequence[_Turn]) -> None:
        calls = [
            self._fan_out_call(turn, shard, members)
            for turn in turns
            for shard, members in turn.by_shard.items()
            if members and turn.slice >= 0
        ]
        if not calls:
            return
        for recipients, webhooks in await self._store.call_many(calls):
            self._stats.recipients += recipients
            self._stats.webhooks += webhooks
        self._stats.slices += len(turns)

    def _fan_out_call(self, turn: _Turn, shard: int, members: list[str]) -> Call:
        event, limits = turn.work.event, self._limits
        return Call(
            "fan_out",
            [
                keys.roster(shard, event.post, event.version, turn.slice),
                keys.tally(shard, event.post),
                keys.routes(shard),
                keys.trimmed(shard),
                keys.deliveries(shard),
            ],
            [
                keys.tag(shard),
                encode_event(event),
                f"{turn.type}.{event.kind.word}",
                turn.slice,
                limits.retention_s,
                limits.inbox_max,
                limits.inbox_keep,
                limits.sockets_backlog_max,
                limits.sockets_ttl_s,
                encode_users(members),
            ],
        )

    async def _finish(self, turns: Sequence[_Turn]) -> None:
        calls = [
            Call(
                "finish_event",
                [self._lease, self._stream, keys.post(self._shard, turn.work.event.post)],
                [
                    *(self._token, keys.GROUP, turn.work.entry, turn.work.event.version),
                    max(turn.slice, turn.work.finished) + 1,
                ],
            )
            for turn in turns
        ]
        for turn, answer in zip(turns, await self._store.call_many(calls), strict=True):
            if answer == b"lost":
                raise LeaseLost(f"fan-out of shard {self._shard}")
            queue = self._queues[turn.work.author]
            queue.popleft()
            self._held.discard(turn.work.entry)
            self._stats.held -= 1
            self._stats.events += 1
            self._log(turn)

    def _log(self, turn: _Turn) -> None:
        accepted_ms = int(turn.work.entry.partition(b"-")[0])
        lag_ms = max(now_ms() - accepted_ms, 0)
        self._stats.time.observe(lag_ms / 1000)
        log.info(
            "fanned out",
            extra={
                "post": turn.work.event.post,
                "version": turn.work.event.version,
                "kind": turn.work.event.kind.word,
                "slices": max(turn.slice, turn.work.finished) + 1,
                "shard": shard_of_id(turn.work.event.post),
                "lag_ms": lag_ms,
            },
        )
