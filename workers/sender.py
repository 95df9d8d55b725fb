"""Brings the webhook deliveries of one shard to the dispatch, and keeps its schedule.

First tries come from one stream and retries from another, so that retries never hold up first
tries. Whoever holds the lease re-reads what the last owner had in flight, and skips what the
ledger already knows the outcome of.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.clock import now_ms, steady_ms
from app.domain.breaker import EndpointState
from app.domain.delivery import State
from app.domain.ids import shard_of_id
from app.errors import LeaseLost, StoreError
from app.store import keys
from app.store.client import Store
from app.store.durability import Ack
from workers.delivery import Entry, Item
from workers.dispatch import Dispatch
from workers.intake import Admitted, Ending, Intake
from workers.notices import endpoint_disabled
from workers.outcomes import OutcomeLimits, OutcomeStats, OutcomeWriter, Written
from workers.pulse import Pulse
from workers.room import Room
from workers.schedule import Schedule
from workers.target import Target
from workers.targets import Targets
from workers.tenure import Term
from workers.turns import Turns
from workers.upkeep import Upkeep
from workers.watcher import StreamWatcher, Watched

log = logging.getLogger(__name__)

Beginning = tuple[Item, Ending | None]

READ_MAX = 64  # entries of one stream in one read
ROWS_MAX = 512  # deliveries of one entry, unless its recipients have several endpoints each
MOVE_MAX = 500
FULL_WAIT_MS = 100  # until the next look, when the stream has no room for what is due
WAIT_MAX_S = 5.0  # a clock that was set is noticed at the latest then
BACKOFF_MAX_S = 2.0


@dataclass(slots=True)
class SenderStats:
    """Counters of one worker, all shards together."""

    read: int = 0
    moved: int = 0
    moves_full: int = 0  # that took `MOVE_MAX`
    stream_full: int = 0  # moves that found no room
    expired: int = 0
    takeovers: int = 0
    failures: int = 0


class SenderShard:
    """Owns the delivery streams, the schedule and the endpoints of one shard."""

    def __init__(
        self,
        store: Store,
        watcher: StreamWatcher,
        *,
        shard: int,
        token: bytes,
        term: Term,
        dispatch: Dispatch,
        intake: Intake,
        targets: Targets,
        upkeep: Upkeep,
        room: Room,
        turns: Turns[Beginning],
        redeliveries_max: int,
        ack: Ack,
        outcome_limits: OutcomeLimits,
        schedule: Schedule,
        stats: SenderStats,
        outcome_stats: OutcomeStats,
    ) -> None:
        self._store = store
        self._watcher = watcher
        self._shard = shard
        self._token = token
        self._term = term
        self._dispatch = dispatch
        self._intake = intake
        self._targets = targets
        self._upkeep = upkeep
        self._room = room
        self._turns = turns
        self._redeliveries_max = redeliveries_max
        self._ack: Ack = ack
        self._schedule = schedule
        self._stats = stats
        self._lease = keys.lease(shard, keys.SENDER)
        self._wake = asyncio.Event()
        # What is here of each stream: entries until they are acknowledged.
        self._entries: dict[bool, dict[bytes, Entry]] = {False: {}, True: {}}
        # How far each stream's pending entries were read again; None when that is done.
        self._resume: dict[bool, bytes | None] = {False: b"0", True: b"0"}
        self._in_hand = 0  # deliveries without an outcome
        self._held = 0  # of the room, until their outcomes are written
        self._held_bytes = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._next_due_ms: int | None = 0
        self._log_renew_every_ms = outcome_limits.retention_s * 250  # a quarter of it
        self.has_ended = False
        self.pulse = Pulse()
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
        self.writer.lose_patience()
        self.stop()

    def may_begin(self, at_ms: int) -> bool:
        """Whether one more delivery may be sent, at that time of the steady clock."""
        if self.has_ended:
            return False
        if at_ms < self._term.until_ms:
            return True
        self.abandon()
        return False

    async def run(self) -> None:
        """Works until `stop` or `abandon`. Raises `LeaseLost` when the store says so."""
        streams = {
            again: self._watcher.watch(self._shard, key, self._wake)
            for again, key in (
                (False, keys.deliveries(self._shard)),
                (True, keys.redeliveries(self._shard)),
            )
        }
        changes = self._watcher.watch(self._shard, keys.changes(self._shard), self._wake)
        writing = asyncio.create_task(self.writer.run(), name=f"outcomes-{self._shard}")
        writing.add_done_callback(lambda _: self._wake.set())
        try:
            await self._work(streams, changes, writing)
        except LeaseLost:
            self.abandon()
            raise
        finally:
            self.has_ended = True
            for stream in (*streams.values(), changes):
                self._watcher.forget(self._shard, stream)
            await self._end(writing)

    async def _end(self, writing: "asyncio.Task[None]") -> None:
        """What waits is left to the next owner; what is under way is seen through."""
        self.pulse.rest()
        self._room.forget(self._wake)
        for item, _ in self._turns.take_back(self._is_ours):
            self.forget(item)
        waiting = self._dispatch.waiting()
        self._dispatch.take_back(id_ for id_ in waiting if shard_of_id(id_) == self._shard)
        try:
            await self._idle.wait()
            self.writer.close()
            await writing
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await self._upkeep.close()
            self._give(self._held, self._held_bytes)

    async def _work(
        self, streams: dict[bool, Watched], changes: Watched, writing: "asyncio.Task[None]"
    ) -> None:
        failures = 0
        has_begun = False
        while not self.has_ended:
            if writing.done():
                writing.result()  # it ends only when told to: raise what has ended it
            self._wake.clear()
            self.pulse.begin()
            try:
                if not has_begun:
                    await self._schedule.begin()
                    await self._upkeep.skip_changes(changes)
                    self._targets.forget_shard(self._shard)
                    has_begun = True
                busy = await self._step(streams, changes)
                failures = 0
            except StoreError as error:
                failures += 1
                # A read whose answer was lost has made entries pending that nobody here knows; one
                # that was never carried out has left entries that were told of already.
                self._resume = {False: b"0", True: b"0"}
                for stream in (*streams.values(), changes):
                    stream.news = True
                # Whoever answers next may be another server, that lacks a change that was told of.
                self._targets.doubt_shard(self._shard)
                await self._wait_out(error, failures)
                continue
            if not busy:
                await self._wait((*streams.values(), changes))

    async def _wait_out(self, error: StoreError, failures: int) -> None:
        self._stats.failures += 1
        log.warning("sender waits for the store", extra={"shard": self._shard, "error": str(error)})
        pause_s = random.uniform(0.5, 1) * min(BACKOFF_MAX_S, 0.05 * 2 ** min(failures, 10))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                while not self.has_ended:
                    await self._wake.wait()
                    self._wake.clear()

    async def _wait(self, streams: Sequence[Watched]) -> None:
        """Until something is added, room is made, or the next thing is due."""
        self.pulse.rest()
        for stream in streams:
            stream.waiting = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._wait_s()):
                await self._wake.wait()
        for stream in streams:
            stream.waiting = False

    def _wait_s(self) -> float:
        dues = [due for due in (self._next_due_ms, self._upkeep.next_due_ms) if due is not None]
        if not dues:
            return WAIT_MAX_S
        return min(max(min(dues) - steady_ms(), 0) / 1000, WAIT_MAX_S)

    async def _step(self, streams: dict[bool, Watched], changes: Watched) -> bool:
        """One look at everything. True when there may be more to do at once."""
        await self._schedule.keep()
        if changes.news:
            changes.news = False
            await self._upkeep.take_changes(self, changes)
        busy = await self._move_due(streams[True])
        await self._upkeep.look_after_due()
        for again, stream in streams.items():
            busy |= await self._read(again, stream)
        return busy

    # The schedule

    async def _move_due(self, stream: Watched) -> bool:
        """Moves retries that are due to the stream. True when there may be more of them."""
        at_ms, schedule = steady_ms(), self._schedule
        if self._next_due_ms is None or self._next_due_ms > at_ms:
            return False
        answer = await self._store.call(
            "move_due",
            [self._lease, keys.retries(self._shard), stream.key],
            [self._token, schedule.to_store(at_ms), MOVE_MAX, self._redeliveries_max],
        )
        if answer == b"lost":
            raise self._lost()
        moved, due = answer
        self._stats.moved += moved
        stream.news |= moved > 0
        due_ms = schedule.from_store(int(float(due))) if due else None
        if moved == 0 and due_ms is not None and due_ms <= at_ms:
            self._stats.stream_full += 1
            due_ms = at_ms + FULL_WAIT_MS
        self._stats.moves_full += moved == MOVE_MAX
        self._next_due_ms = due_ms
        return moved == MOVE_MAX

    def _lost(self) -> LeaseLost:
        return LeaseLost(f"sender of shard {self._shard}")

    def expect(self, due_ms: int) -> None:
        """Something is on the schedule for then."""
        if self._next_due_ms is None or due_ms < self._next_due_ms:
            self._next_due_ms = due_ms
            self._wake.set()

    def look_after(self, endpoint: str, at_ms: int) -> None:
        """An endpoint wants looking after at a time: a probe, or the next part of a drain."""
        # Once it is written, that is looked for.
        self.writer.set_health(endpoint, {}, self._schedule.to_store(at_ms))

    # Reading

    async def _read(self, again: bool, stream: Watched) -> bool:
        """Reads on while there is room: what is pending, then what is new. True: perhaps more."""
        after = self._resume[again]
        if after is None and not stream.news:
            return False
        count = min(self._room.left if again else self._room.left // ROWS_MAX, READ_MAX)
        if self._room.is_full or (count == 0 and self._room.held):
            self._room.wait(self._wake)
            return False
        if after is None:
            stream.news = False
        entries = await self._take(stream.key, max(count, 1), b">" if after is None else after)
        if after is not None:
            self._resume[again] = entries[-1][0] if entries else None
            self._stats.takeovers += len(entries)
        elif entries:
            stream.seen(entries[-1][0])
            stream.news |= len(entries) >= count
        await self._intake.admit(self, entries, again, pending=after is not None)
        return after is not None or stream.news

    async def _take(self, stream: bytes, count: int, after: bytes) -> list[Any]:
        entries = await self._store.call(
            "read_group",
            [self._lease, stream],
            [self._token, keys.GROUP, keys.CONSUMER, count, after],
        )
        if entries == b"lost":
            raise self._lost()
        if entries:  # nothing is sent that could still be lost, and then be another thing
            await self._store.settle([stream], self._ack)
        return entries

    def knows(self, entry: bytes, again: bool) -> bool:
        """Whether an entry is here already, and not acknowledged yet."""
        return entry in self._entries[again]

    def offer(self, admitted: Sequence[Admitted]) -> None:
        """What was read begins when it is its author's turn."""
        self._stats.read += len(admitted)
        for made in admitted:
            if self.has_ended:
                return  # left in the stream, for the next owner
            self._hold(made)
            beginnings = [(item, made.endings.get(item)) for item in made.items]
            self._turns.add(made.author, beginnings, is_large=made.is_large)

    def _is_ours(self, beginning: Beginning) -> bool:
        return beginning[0].owner is self

    def begin(self, item: Item, ending: Ending | None) -> None:
        """Starts, queues or ends a delivery whose turn it is."""
        if self.has_ended:
            self.forget(item)
        elif ending is None:
            self._dispatch.offer(item)
        elif ending[0] is State.PENDING:
            self._dispatch.put_off(item, ending[1])
        else:
            self._dispatch.settle(item, *ending)

    # What is in hand

    def _hold(self, made: Admitted) -> None:
        entry, count = made.entry, len(made.items)
        self._entries[entry.again][entry.id] = entry
        entry.left = count
        if count == 0:
            self._stats.expired += 1
            self.close_entry(entry)
            return
        self._in_hand += count
        self._held += count
        self._held_bytes += entry.size
        self._room.take(count, entry.size)
        self._idle.clear()

    def record(
        self,
        item: Item,
        state: State,
        attempts: int,
        at_ms: int,
        *,
        status: int,
        error: str,
        due_ms: int,
        log_entry: bytes,
    ) -> None:
        """What became of a delivery; with the last one of an entry, that is acknowledged."""
        entry, schedule = item.entry, self._schedule
        entry.left -= 1
        self.writer.add(
            item.place,
            item.endpoint,
            state,
            attempts,
            at_ms=schedule.to_wall(at_ms),
            status=status,
            error=error,
            due_ms=schedule.to_wall(due_ms) if due_ms else 0,
            scheduled_ms=schedule.to_store(due_ms) if due_ms else 0,
            base=item.base,
            log_entry=log_entry,
            renews_log=log_entry != b"" and self._renews_log(item, at_ms),
            entry=None if entry.left else entry.id,
            again=entry.again,
        )
        if entry.left == 0:
            self._give(0, entry.size)
        self._let_go()

    def _renews_log(self, item: Item, at_ms: int) -> bool:
        """Whether this entry puts off the end of its endpoint's log, which is a quarter longer than
        the retention: so each entry is kept that long, and few have to see to it."""
        target = item.target
        if target is None:
            return True
        if at_ms < target.log_renewed_until_ms:
            return False
        target.log_renewed_until_ms = at_ms + self._log_renew_every_ms
        return True

    def forget(self, item: Item) -> None:
        """Left in the stream, pending, for the next owner."""
        self._give(1)
        self._let_go()

    def _let_go(self) -> None:
        self._in_hand -= 1
        if self._in_hand == 0:
            self._idle.set()

    def _give(self, count: int, size: int = 0) -> None:
        # Nothing is left to give, once this shard's work has been cut short.
        count, size = min(count, self._held), min(size, self._held_bytes)
        self._held -= count
        self._held_bytes -= size
        self._room.give(count, size)

    def close_entry(self, entry: Entry) -> None:
        """There is nothing to do about an entry: it is only acknowledged."""
        self._entries[entry.again][entry.id] = entry
        self.writer.close_entry(entry.id, entry.again)

    def note_health(self, target: Target, fields: dict[str, str | int]) -> None:
        target.is_unwritten = True
        is_disabled = fields.get("state") == EndpointState.DISABLED
        notice = endpoint_disabled(target, now_ms()) if is_disabled else None
        self.writer.set_health(target.id, fields, notice=notice)

    def _on_written(self, written: Written) -> None:
        self._give(written.deliveries)
        for again, ids in ((False, written.done), (True, written.redone)):
            here = self._entries[again]
            for id_ in ids:
                here.pop(id_, None)
        for endpoint in written.endpoints:
            target = self._targets.get(endpoint)
            if target is not None:
                target.is_unwritten = False
        schedule, due_ms, probe_ms = self._schedule, written.next_due_ms, written.next_probe_ms
        if due_ms is not None:
            self.expect(schedule.from_store(due_ms))
        if probe_ms is not None and self._upkeep.expect(schedule.from_store(probe_ms)):
            self._wake.set()
