"""Looks after the endpoints of one shard: changes made by calls, challenges, probes, drains."""

import asyncio
import logging
from typing import TYPE_CHECKING

from app.clock import now_ms, steady_ms
from app.domain.breaker import EndpointState
from app.domain.delivery import State
from app.errors import StoreError, StoreFull
from app.store import keys
from app.store.client import Store
from app.store.replies import pairs
from app.store.retries import reschedule
from app.wire import stream_fields
from workers.challenges import Challenges
from workers.dispatch import UNUSABLE_S, Dispatch
from workers.pings import Pings
from workers.schedule import Schedule
from workers.target import Target
from workers.targets import Loaded, Targets
from workers.watcher import Watched

if TYPE_CHECKING:
    from workers.sender import SenderShard

log = logging.getLogger(__name__)

READ_MAX = 500
PINGED_MS = 20_000  # whoever asked for a ping before that has given up waiting for it
DUE_MAX = 50
DRAIN_MAX = 250  # parked deliveries set free at once, spread over their gaps
# To look again: the probe that was set free may have been cancelled, health may be on its way.
AGAIN_MS = 1_000


class Upkeep:
    """The part of a sender that deals with endpoints rather than deliveries."""

    def __init__(
        self,
        store: Store,
        *,
        shard: int,
        targets: Targets,
        dispatch: Dispatch,
        pings: Pings,
        challenges: Challenges,
        schedule: Schedule,
        drain_gap_ms: float,
        changes_max: int,
    ) -> None:
        self._store = store
        self._shard = shard
        self._targets = targets
        self._dispatch = dispatch
        self._pings = pings
        self._challenges = challenges
        self._schedule = schedule
        self._drain_gap_ms = drain_gap_ms
        self._changes_max = changes_max
        self._changes_read = 0  # since the last time that all were read
        self._changes_seen = b"0"  # the watcher moves its own mark on before we have read
        self.next_due_ms: int | None = 0

    def expect(self, at_ms: int) -> bool:
        """Something is to be looked after at a time; True when that is sooner than was known."""
        if self.next_due_ms is not None and at_ms >= self.next_due_ms:
            return False
        self.next_due_ms = at_ms
        return True

    async def close(self) -> None:
        await self._pings.close()
        await self._challenges.close()

    # What calls have changed

    async def skip_changes(self, changes: Watched) -> None:
        """Changes from before this tenure are in the endpoints themselves, but pings may have been
        asked for while nobody owned the shard."""
        found = await self._store.execute(
            "XREVRANGE", keys.changes(self._shard), "+", "-", "COUNT", 1
        )
        if not found:
            return
        newest: bytes = found[0][0]
        newest_ms = int(newest.partition(b"-")[0])
        # The ids are the store's time: by a clock of ours that is ahead nothing would be new.
        since_ms = max(now_ms(), newest_ms) - PINGED_MS
        self._changes_seen = newest if since_ms > newest_ms else b"%d-0" % max(since_ms, 0)
        changes.seen(self._changes_seen)

    async def take_changes(self, owner: "SenderShard", changes: Watched) -> None:
        """Reads the change stream on from where it was.

        It is cut by its length, so that of very many changes since the last look some may be gone:
        then whatever is known of the shard's endpoints is read anew when it is next needed.
        """
        while True:
            entries = await self._store.execute(
                *("XRANGE", keys.changes(self._shard), b"(" + self._changes_seen, "+"),
                *("COUNT", READ_MAX),
            )
            await self._take(owner, [(id_, stream_fields(raw)) for id_, raw in entries])
            if entries:
                self._changes_seen = entries[-1][0]
                changes.seen(self._changes_seen)
            self._changes_read += len(entries)
            # Pings leave the stream by themselves: half, so that those do not hide what was cut.
            if self._changes_read >= self._changes_max // 2:
                self._changes_read = 0
                self._targets.doubt_shard(self._shard)
            if len(entries) < READ_MAX:
                self._changes_read = 0
                return

    async def _take(
        self, owner: "SenderShard", changes: list[tuple[bytes, dict[bytes, bytes]]]
    ) -> None:
        told = {fields[b"e"].decode() for _, fields in changes if b"e" in fields}
        known = {id_ for id_ in told if self._targets.get(id_) is not None}
        if known:
            loaded = await self._targets.reload(known)
            for id_ in known - loaded.targets.keys() - loaded.unusable:
                self._drop(id_)
        if told:
            # Enabling and deleting have put it among those to be looked after at once.
            self.expect(steady_ms())
        for entry, fields in changes:
            if b"p" in fields or b"v" in fields:
                await self._ask(entry, fields)
            if b"w" in fields:
                owner.expect(steady_ms())

    async def _ask(self, entry: bytes, fields: dict[bytes, bytes]) -> None:
        """Sends a ping or a challenge, unless the owner before has."""
        if await self._store.execute("XDEL", keys.changes(self._shard), entry) == 0:
            return
        endpoint = fields[b"e"].decode()
        target = (await self._targets.load([endpoint])).targets.get(endpoint)
        if target is None:
            return
        if b"p" in fields:
            self._pings.send(fields[b"p"].decode(), target)
        else:
            self._challenges.send(fields[b"v"].decode(), target)

    def _drop(self, endpoint: str) -> None:
        """The endpoint is gone: so is what waits for it here."""
        for item in self._dispatch.drop(endpoint):
            self._dispatch.settle(item, State.SUPPRESSED, "no_endpoint")

    # Probes and drains

    async def look_after_due(self) -> None:
        """Probes open endpoints, drains those that have come back, and challenges those that are to
        be verified, each at its time."""
        if self.next_due_ms is None or self.next_due_ms > steady_ms():
            return
        self.next_due_ms = None  # what is asked for meanwhile counts as well
        try:
            await self._look_after_all()
        except StoreFull as error:
            # What is acknowledged makes room: sending must not wait for this.
            log.warning("endpoints wait for room in the store", extra={"error": str(error)})
            self.expect(steady_ms() + AGAIN_MS)
        except StoreError:
            self.expect(0)
            raise

    async def _look_after_all(self) -> None:
        key, schedule = keys.probes(self._shard), self._schedule
        raw = await self._store.execute(
            *("ZRANGE", key, "-inf", schedule.to_store(steady_ms()), "BYSCORE"),
            *("LIMIT", 0, DUE_MAX, "WITHSCORES"),
        )
        due = [(endpoint.decode(), time) for endpoint, time in pairs(raw)]
        if due:
            loaded = await self._targets.reload([endpoint for endpoint, _ in due])
            # The round trips of all of them together: they do not wait for each other.
            done = await asyncio.gather(
                *(self._look_after(endpoint, time, loaded) for endpoint, time in due),
                return_exceptions=True,
            )
            for error in done:
                if error is not None:
                    raise error
        first = await self._store.execute("ZRANGE", key, 0, 0, "WITHSCORES")
        if first:
            self.expect(schedule.from_store(int(float(first[1]))))

    async def _look_after(self, endpoint: str, time: bytes, loaded: Loaded) -> None:
        """Does what is due for an endpoint, and sets when to look after it again, if ever."""
        if endpoint in loaded.unusable:
            next_ms = steady_ms() + round(UNUSABLE_S * 1000)
        else:
            next_ms = await self._set_free_due(endpoint, loaded.targets.get(endpoint))
        then = "" if next_ms is None else self._schedule.to_store(next_ms)
        await self._store.call("move_probe", [keys.probes(self._shard)], [endpoint, time, then])

    async def _set_free_due(self, endpoint: str, target: Target | None) -> int | None:
        at_ms = steady_ms()
        if target is None:
            # A deleted endpoint's parked work goes back to the stream, where it is suppressed.
            moved = await self._set_free(endpoint, DRAIN_MAX)
            return at_ms if moved else None
        health = target.health
        if health.state is EndpointState.UNVERIFIED:
            return self._challenges.begin(target)
        if target.is_unwritten:
            return at_ms + AGAIN_MS
        if health.state is EndpointState.ACTIVE:
            moved = await self._set_free(endpoint, DRAIN_MAX, gap_ms=self._drain_gap_ms)
            return at_ms + round(self._drain_gap_ms * moved) if moved else None
        if health.open_until_ms is None or health.open_until_ms > at_ms:
            return health.open_until_ms  # None after a 410: only a call brings it back
        moved = await self._set_free(endpoint, 1)
        return at_ms + AGAIN_MS if moved else None

    async def _set_free(self, endpoint: str, count: int, *, gap_ms: float = 0.0) -> int:
        """Puts up to `count` of what is parked back on its way; returns how many there were."""
        parked = keys.parked(self._shard, endpoint)
        raw = await self._store.execute("ZRANGE", parked, 0, count - 1)
        if raw:
            at_ms = now_ms()
            ids = [id_.decode() for id_ in raw]
            await reschedule(
                self._store,
                ids,
                at_ms,
                changes_max=self._changes_max,
                start_ms=at_ms,
                gap_ms=gap_ms,
            )
        return len(raw)
