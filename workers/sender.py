"""Brings the webhook deliveries of one shard to the dispatch, and keeps its schedule.

First tries come from one stream and retries from another, so that retries never hold up first
tries. Whoever holds the lease re-reads what the last owner had in flight, and skips what the
ledger already knows the outcome of.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from app.clock import now_ms
from app.domain.delivery import State
from app.domain.ids import WebhookDelivery, parse_delivery_id, shard_of_id
from app.domain.post import Event, EventKind, Post
from app.errors import DecodeError, LeaseLost, StoreError
from app.store import canary, keys
from app.store.bodies import Bodies
from app.store.client import Store
from app.wire import (
    Record,
    decode_deliveries,
    decode_event,
    decode_record,
    decode_roster,
    stream_fields,
)
from workers.delivery import Entry, Item
from workers.dispatch import Dispatch, kind_of
from workers.outcomes import OutcomeLimits, OutcomeStats, OutcomeWriter, Written
from workers.pulse import Pulse
from workers.target import Target
from workers.targets import Targets
from workers.upkeep import Upkeep
from workers.watcher import StreamWatcher, Watched

log = logging.getLogger(__name__)

READ_MAX = 64  # entries of one stream in one read
MOVE_MAX = 500
BACKOFF_MAX_S = 2.0
FRESH_MS = 5_000  # so long after its fan-out a delivery is sent without looking at blocks again


@dataclass(slots=True)
class SenderStats:
    """Counters of one worker, all shards together."""

    held: int = 0
    read: int = 0
    moved: int = 0
    expired: int = 0
    takeovers: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class SenderLimits:
    held_max: int
    redeliveries_max: int


class SenderShard:
    """Owns the delivery streams, the schedule and the endpoints of one shard."""

    def __init__(
        self,
        store: Store,
        watcher: StreamWatcher,
        *,
        shard: int,
        token: bytes,
        dispatch: Dispatch,
        bodies: Bodies,
        targets: Targets,
        upkeep: Upkeep,
        limits: SenderLimits,
        outcome_limits: OutcomeLimits,
        stats: SenderStats,
        outcome_stats: OutcomeStats,
    ) -> None:
        self._store = store
        self._watcher = watcher
        self._shard = shard
        self._token = token
        self._dispatch = dispatch
        self._bodies = bodies
        self._targets = targets
        self._upkeep = upkeep
        self._limits = limits
        self._stats = stats
        self._lease = keys.lease(shard, keys.SENDER)
        self._streams = {False: keys.deliveries(shard), True: keys.redeliveries(shard)}
        self._wake = asyncio.Event()
        self.pulse = Pulse()
        self._firsts: dict[bytes, Entry] = {}
        self._again: dict[bytes, Entry] = {}
        self._in_hand = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.has_ended = False
        self._next_due_ms: int | None = 0
        self.writer = OutcomeWriter(
            store,
            shard=shard,
            token=token,
            limits=outcome_limits,
            stats=outcome_stats,
            on_written=self._on_written,
        )

    # The job

    def stop(self) -> None:
        """Starts nothing more; what is under way finishes and is recorded."""
        self.has_ended = True
        self._wake.set()

    def abandon(self) -> None:
        """The lease is another's: only what was delivered still counts."""
        self.writer.give_up()
        self.stop()

    async def run(self) -> None:
        """Works until `stop` or `abandon`. Raises `LeaseLost` when the store says so."""
        watched = {
            again: self._watcher.watch(self._shard, key, self._wake)
            for again, key in self._streams.items()
        }
        changes = self._watcher.watch(self._shard, keys.changes(self._shard), self._wake)
        writing = asyncio.create_task(self.writer.run(), name=f"outcomes-{self._shard}")
        try:
            await self._work(watched, changes, writing)
        except LeaseLost:
            self.abandon()
            raise
        finally:
            self.has_ended = True
            for stream in (*watched.values(), changes):
                self._watcher.forget(self._shard, stream)
            await self._finish(writing)

    async def _finish(self, writing: "asyncio.Task[None]") -> None:
        """What waits is left to the next owner; what is under way is seen through."""
        self.pulse.rest()
        waiting = self._dispatch.waiting()
        self._dispatch.take_back(id_ for id_ in waiting if shard_of_id(id_) == self._shard)
        await self._idle.wait()
        self.writer.close()
        await writing
        self._upkeep.close()

    async def _work(
        self, watched: dict[bool, Watched], changes: Watched, writing: "asyncio.Task[None]"
    ) -> None:
        failures = 0
        resume = begin = True
        while not self.has_ended:
            if writing.done():
                writing.result()  # it ends only when told to: raise what has ended it
            self._wake.clear()
            self.pulse.begin()
            try:
                if begin:
                    await self._upkeep.skip_changes(changes)
                    begin = False
                if resume:
                    await self._take_over()
                    resume = False
                busy = await self._step(watched, changes)
                failures = 0
            except StoreError as error:
                failures += 1
                # A read whose answer was lost has made entries pending that nobody here knows.
                resume = True
                await self._wait_out(error, failures)
                continue
            if not busy:
                await self._wait(watched, changes)

    async def _wait_out(self, error: StoreError, failures: int) -> None:
        self._stats.failures += 1
        log.warning("sender waits for the store", extra={"shard": self._shard, "error": str(error)})
        pause_s = random.uniform(0.5, 1) * min(BACKOFF_MAX_S, 0.05 * 2 ** min(failures, 10))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                while not self.has_ended:
                    await self._wake.wait()
                    self._wake.clear()

    async def _wait(self, watched: dict[bool, Watched], changes: Watched) -> None:
        """Until something is added, room is made, or the next thing is due."""
        due_ms = min(
            (due for due in (self._next_due_ms, self._upkeep.next_due_ms) if due is not None),
            default=None,
        )
        self.pulse.rest()
        streams = (*watched.values(), changes)
        for stream in streams:
            stream.waiting = True
        if due_ms is None:
            await self._wake.wait()
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(due_ms - now_ms(), 0) / 1000):
                    await self._wake.wait()
        for stream in streams:
            stream.waiting = False

    async def _step(self, watched: dict[bool, Watched], changes: Watched) -> bool:
        """One look at everything. True when there may be more to do at once."""
        if changes.news:
            changes.news = False
            await self._upkeep.take_changes(self, changes)
        await self._move_due()
        await self._upkeep.look_after_due(self)
        busy = False
        for again, stream in watched.items():
            if stream.news:
                busy |= await self._read(again, stream)
        return busy

    # The schedule

    async def _move_due(self) -> None:
        """Moves retries that are due to the stream, which then wakes us to read them."""
        while self._next_due_ms is not None and self._next_due_ms <= now_ms():
            answer = await self._store.call(
                "move_due",
                [self._lease, keys.retries(self._shard), self._streams[True]],
                [self._token, now_ms(), MOVE_MAX, self._limits.redeliveries_max],
            )
            if answer == b"lost":
                raise LeaseLost(f"sender of shard {self._shard}")
            moved, due = answer
            self._next_due_ms = int(float(due)) if due else None
            if not moved:
                self._hold_back()
                return
            self._stats.moved += moved

    def _hold_back(self) -> None:
        """The redelivery stream is full: look again shortly."""
        if self._next_due_ms is not None and self._next_due_ms <= now_ms():
            self._next_due_ms = now_ms() + 100

    def expect(self, due_ms: int) -> None:
        """Something is on the schedule for then."""
        if self._next_due_ms is None or due_ms < self._next_due_ms:
            self._next_due_ms = due_ms
            self._wake.set()

    def look_after(self, endpoint: str, at_ms: int) -> None:
        """An endpoint wants looking after at a time: a probe, or the next part of a drain."""
        self.writer.set_health(endpoint, {}, at_ms)  # once it is written, that is looked for

    # Reading

    async def _take_over(self) -> None:
        """Re-reads all that is pending: from the last owner, or from a read gone wrong."""
        for again, stream in self._streams.items():
            after = b"0"
            while True:
                entries = await self._entries(stream, READ_MAX, after)
                if not entries:
                    break
                after = entries[-1][0]
                self._stats.takeovers += len(entries)
                await self._admit(entries, again, pending=True)

    async def _entries(self, stream: bytes, count: int, after: bytes) -> list[Any]:
        entries = await self._store.call(
            "read_group",
            [self._lease, stream],
            [self._token, keys.GROUP, keys.CONSUMER, count, after],
        )
        if entries == b"lost":
            raise LeaseLost(f"sender of shard {self._shard}")
        return entries

    async def _read(self, again: bool, stream: Watched) -> bool:
        """Reads new entries while there is room. True when there may be more."""
        if self._stats.held >= self._limits.held_max:
            return False  # whatever is written down next makes room and wakes us
        stream.news = False
        entries = await self._entries(stream.key, READ_MAX, b">")
        if not entries:
            return False
        stream.seen(entries[-1][0])
        if len(entries) == READ_MAX:
            stream.news = True
        await self._admit(entries, again, pending=False)
        return stream.news

    async def _admit(self, entries: Sequence[Any], again: bool, *, pending: bool) -> None:
        """Brings entries to the dispatch, but those that are here already."""
        here = self._again if again else self._firsts
        fresh = [(id_, stream_fields(raw)) for id_, raw in entries if id_ not in here and raw]
        for id_, raw in entries:
            if not raw:
                self.writer.close_entry(id_, again)  # deleted by hand: nothing is left to do
        self._stats.read += len(fresh)
        try:
            if again:
                await self._admit_retries([(id_, fields[b"d"].decode()) for id_, fields in fresh])
            else:
                await self._admit_slices(fresh, pending)
        except (DecodeError, KeyError) as error:
            if len(fresh) > 1:  # find the one that cannot be read
                for entry in entries:
                    await self._admit([entry], again, pending=pending)
                return
            log.error("entry cannot be read", extra={"entry": fresh, "error": str(error)})
            self.writer.close_entry(fresh[0][0], again)

    async def _admit_slices(
        self, entries: list[tuple[bytes, dict[bytes, bytes]]], pending: bool
    ) -> None:
        slices: list[tuple[bytes, Event, int, list[tuple[str, str, int]]]] = []
        for id_, fields in entries:
            if b"k" in fields:
                await canary.arrived(self._store, self._shard, int(fields[b"k"]))
                self.writer.close_entry(id_, False)
                continue
            rows = decode_deliveries(fields[b"d"])
            slices.append((id_, decode_event(fields[b"e"]), int(fields[b"s"]), rows))
        if not slices:
            return
        for _, event, _, _ in slices:
            if event.kind is EventKind.DELETED:
                self._bodies.forget(event.post)
        posts = await self._bodies.get([event for _, event, _, _ in slices])
        await self._targets.load({row[0] for _, _, _, rows in slices for row in rows})
        done = await self._done_before(slices) if pending else None
        old_ms = now_ms() - FRESH_MS
        entries_made: list[tuple[Entry, list[Item]]] = []
        aged: list[Item] = []
        for index, (id_, event, number, rows) in enumerate(slices):
            entry = Entry(id_, False, 0)
            items = [
                Item(self, entry, event, number, endpoint, user, offset)
                for endpoint, user, offset in rows
                if done is None or endpoint not in done[index]
            ]
            entries_made.append((entry, items))
            if int(id_.partition(b"-")[0]) < old_ms:
                aged += items
        blocked = await self._blocked(aged, posts)
        # From here on nothing waits: what is held is offered.
        for entry, items in entries_made:
            self._hold(entry, len(items))
            self._offer_all(items, posts, blocked)

    async def _done_before(self, slices: Sequence[Any]) -> list[set[str]]:
        """The endpoints of each slice that have a record: those deliveries are somewhere else."""
        answers = await self._store.run_many(
            [
                ("HKEYS", keys.outcomes(self._shard, event.post, event.version, number))
                for _, event, number, _ in slices
            ]
        )
        return [{endpoint.decode() for endpoint in found} for found in answers]

    async def _admit_retries(self, entries: Sequence[tuple[bytes, str]]) -> None:
        parsed = [(id_, parse_delivery_id(text)) for id_, text in entries]
        wanted = [(id_, d) for id_, d in parsed if isinstance(d, WebhookDelivery)]
        for id_, delivery in parsed:
            if not isinstance(delivery, WebhookDelivery):
                raise DecodeError("delivery id", id_)
        if not wanted:
            return
        rosters, records = await self._ledger_rows([delivery for _, delivery in wanted])
        posts = await self._bodies.get(
            [Event(d.post, d.version, EventKind.CREATED) for _, d in wanted]
        )
        await self._targets.load({delivery.endpoint for _, delivery in wanted})
        items: list[Item] = []
        over: list[bytes] = []
        for (id_, delivery), place, record in zip(wanted, rosters, records, strict=True):
            if place is None or record is None or record.state.is_final:
                over.append(id_)
                continue
            post = posts[delivery.post]
            kind = kind_of(post, delivery.version) if post else EventKind.CREATED
            event = Event(delivery.post, delivery.version, kind)
            item = Item(self, Entry(id_, True, 0), event, delivery.slice, delivery.endpoint, *place)
            item.attempts, item.base = record.attempts, record.base
            item.status, item.error = record.status, record.error
            item.due_ms = record.due_ms
            items.append(item)
        blocked = await self._blocked(items, posts)
        # From here on nothing waits: what is held is offered.
        self._stats.expired += len(over)
        for id_ in over:
            self.writer.close_entry(id_, True)
        for item in items:
            self._hold(item.entry, 1)
        self._offer_all(items, posts, blocked)

    async def _ledger_rows(
        self, deliveries: Sequence[WebhookDelivery]
    ) -> tuple[list[tuple[str, int] | None], list[Record | None]]:
        """Recipient and offset, and the record, of each delivery; None where there is none."""
        shard = self._shard
        raws = await self._store.run_many(
            [
                command
                for d in deliveries
                for command in (
                    ("GET", keys.roster(shard, d.post, d.version, d.slice)),
                    ("HGET", keys.outcomes(shard, d.post, d.version, d.slice), d.endpoint),
                )
            ]
        )
        places = [
            _find(raw, delivery.endpoint) if raw else None
            for raw, delivery in zip(raws[0::2], deliveries, strict=True)
        ]
        return places, [decode_record(raw) if raw else None for raw in raws[1::2]]

    async def _blocked(self, items: Sequence[Item], posts: dict[str, Post | None]) -> set[Item]:
        """Those whose recipient has blocked the author, or been blocked, since the fan-out.

        A deletion goes to them all the same: it is what takes the post away again.
        """
        asked = [item for item in items if item.event.kind is not EventKind.DELETED]
        commands: list[tuple[Any, ...]] = []
        for item in asked:
            post = posts.get(item.event.post)
            author = post.author if post else ""
            commands.append(("ZSCORE", keys.blocks(self._shard, item.user), author))
            commands.append(("ZSCORE", keys.blockers(self._shard, item.user), author))
        scores = await self._store.run_many(commands) if commands else []
        pairs = zip(asked, scores[0::2], scores[1::2], strict=True)
        return {item for item, *both in pairs if both != [None, None]}

    def _offer_all(
        self, items: Iterable[Item], posts: dict[str, Post | None], blocked: set[Item]
    ) -> None:
        for item in items:
            post = posts.get(item.event.post)
            item.target = self._targets.get(item.endpoint)
            if post is None:
                self._dispatch.settle(item, State.SUPPRESSED, "expired")
            elif post.deleted and item.event.kind is not EventKind.DELETED:
                self._dispatch.settle(item, State.CANCELLED, "deleted")
            elif item in blocked:
                self._dispatch.settle(item, State.SUPPRESSED, "blocked")
            elif item.target is None:
                self._dispatch.settle(item, State.SUPPRESSED, "no_endpoint")
            else:
                item.body = self._dispatch.body_of(post, item.event)
                self._dispatch.offer(item)

    # What is in hand

    def _hold(self, entry: Entry, count: int) -> None:
        (self._again if entry.again else self._firsts)[entry.id] = entry
        entry.left = count
        if count == 0:
            self._close(entry)
            return
        self._in_hand += count
        self._stats.held += count
        self._idle.clear()

    def record(
        self,
        item: Item,
        state: State,
        attempts: int,
        *,
        status: int,
        error: str,
        due_ms: int,
        log_entry: bytes,
    ) -> None:
        """What became of a delivery; with the last one of an entry, that is acknowledged."""
        entry = item.entry
        entry.left -= 1
        self.writer.add(
            item.place,
            item.endpoint,
            state,
            attempts,
            at_ms=now_ms(),
            status=status,
            error=error,
            due_ms=due_ms,
            base=item.base,
            log_entry=log_entry,
        )
        if entry.left == 0:
            self._close(entry)
        self._let_go()

    def forget(self, item: Item) -> None:
        """Left in the stream, pending, for the next owner."""
        self._stats.held -= 1
        self._let_go()

    def _let_go(self) -> None:
        self._in_hand -= 1
        if self._in_hand == 0:
            self._idle.set()

    def _close(self, entry: Entry) -> None:
        self.writer.close_entry(entry.id, entry.again)

    def note_health(self, target: Target, fields: dict[str, str | int]) -> None:
        target.is_unwritten = True
        self.writer.set_health(target.id, fields)

    def _on_written(self, written: Written) -> None:
        self._stats.held -= written.deliveries
        for id_ in written.done:
            self._firsts.pop(id_, None)
        for id_ in written.redone:
            self._again.pop(id_, None)
        for endpoint in written.endpoints:
            target = self._targets.get(endpoint)
            if target is not None:
                target.is_unwritten = False
        self._wake.set()
        if written.next_due_ms is not None:
            self.expect(written.next_due_ms)
        if written.next_probe_ms is not None:
            self._upkeep.expect(written.next_probe_ms)


def _find(raw: bytes, endpoint: str) -> tuple[str, int] | None:
    """Whose endpoint it is, and the offset, from the roster of its slice."""
    roster = decode_roster(raw)
    for user, offset, endpoints in zip(roster.users, roster.offsets, roster.endpoints, strict=True):
        if endpoint in endpoints:
            return user, offset
    return None
