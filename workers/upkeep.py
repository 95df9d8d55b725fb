"""Looks after the endpoints of one shard: changes made by calls, pings, probes, drains."""

import asyncio
import logging
from typing import TYPE_CHECKING

from app.clock import now_ms
from app.domain.attempt import Outcome
from app.domain.breaker import EndpointState
from app.domain.delivery import State
from app.domain.post import EventKind
from app.errors import ClientClosed, StoreError
from app.store import keys
from app.store.client import Store
from app.store.ledger import Ledger
from app.store.replies import pairs
from app.wire import encode_attempt, encode_json, rfc3339, stream_fields
from workers.dispatch import Dispatch
from workers.http.client import Client
from workers.target import Target
from workers.targets import Targets
from workers.watcher import Watched

if TYPE_CHECKING:
    from workers.sender import SenderShard

log = logging.getLogger(__name__)

READ_MAX = 500
DUE_MAX = 50
PINGS_MAX = 100  # at once; more are left unanswered, and the api says so
REPLY_TTL_S = 60
PROBE_AGAIN_MS = 1_000  # if the probe that was set free was not sent: it was cancelled, say


class Upkeep:
    """The part of a sender that deals with endpoints rather than deliveries."""

    def __init__(
        self,
        store: Store,
        *,
        shard: int,
        targets: Targets,
        dispatch: Dispatch,
        client: Client,
        ledger: Ledger,
        drain_gap_ms: float,
        drain_max: int,
    ) -> None:
        self._store = store
        self._shard = shard
        self._targets = targets
        self._dispatch = dispatch
        self._client = client
        self._ledger = ledger
        self._drain_gap_ms = drain_gap_ms
        self._drain_max = drain_max
        self._pings: set[asyncio.Task[None]] = set()
        self._changes_seen = b"0"  # the watcher moves its own mark on before we have read
        self.next_due_ms: int | None = 0

    def expect(self, at_ms: int) -> None:
        if self.next_due_ms is None or at_ms < self.next_due_ms:
            self.next_due_ms = at_ms

    def close(self) -> None:
        for ping in self._pings:
            ping.cancel()

    # What calls have changed

    async def skip_changes(self, changes: Watched) -> None:
        """Changes from before this tenure are in the endpoints themselves."""
        key = keys.changes(self._shard)
        found = await self._store.execute("XREVRANGE", key, "+", "-", "COUNT", 1)
        if found:
            self._changes_seen = found[0][0]
            changes.seen(self._changes_seen)

    async def take_changes(self, owner: "SenderShard", changes: Watched) -> None:
        """Reads the change stream on from where it was."""
        while True:
            entries = await self._store.execute(
                *("XRANGE", keys.changes(self._shard), b"(" + self._changes_seen, "+"),
                *("COUNT", READ_MAX),
            )
            await self._take(owner, [stream_fields(raw) for _, raw in entries])
            if entries:
                self._changes_seen = entries[-1][0]
                changes.seen(self._changes_seen)
            if len(entries) < READ_MAX:
                return

    async def _take(self, owner: "SenderShard", changes: list[dict[bytes, bytes]]) -> None:
        changed = {fields[b"e"].decode() for fields in changes if b"e" in fields}
        before = {id_: _state(self._targets.get(id_)) for id_ in changed}
        if changed:
            await self._targets.reload(changed)
        for id_ in changed:
            target = self._targets.get(id_)
            if target is None:
                self._drop(id_)
            elif (
                target.health.state is EndpointState.ACTIVE
                and before[id_] is not target.health.state
            ):
                owner.look_after(id_, now_ms())
        for fields in changes:
            if b"p" in fields:
                self._ping(fields[b"p"].decode(), fields[b"e"].decode())
            if b"w" in fields:
                owner.expect(0)

    def _drop(self, endpoint: str) -> None:
        """The endpoint is gone: so is what waits for it here."""
        for item in self._dispatch.drop(endpoint):
            self._dispatch.settle(item, State.SUPPRESSED, "no_endpoint")

    # Pings

    def _ping(self, request: str, endpoint: str) -> None:
        target = self._targets.get(endpoint)
        if target is None or len(self._pings) >= PINGS_MAX:
            return
        ping = asyncio.create_task(self._send_ping(request, target), name=f"ping-{endpoint}")
        self._pings.add(ping)
        ping.add_done_callback(self._ping_done)

    def _ping_done(self, ping: "asyncio.Task[None]") -> None:
        self._pings.discard(ping)
        if not ping.cancelled() and ping.exception() is not None:
            log.error("ping failed", exc_info=ping.exception())

    async def _send_ping(self, request: str, target: Target) -> None:
        """Sends a ping now, past lanes and breaker, and answers who asked for it."""
        at_ms = now_ms()
        id_ = f"ping-{request}"
        body = encode_json({"type": "ping", "timestamp": rfc3339(at_ms), "data": {"ping": True}})
        url, head, body = target.request(EventKind.CREATED, id_.encode(), 1, body, at_ms)
        try:
            outcome: Outcome = await self._client.request(url, head, body)
        except ClientClosed:
            return
        self._dispatch.count_ping(outcome)
        entry = encode_attempt(id_, 1, at_ms, outcome)
        key = keys.reply(self._shard, request)
        try:
            await self._store.run_many(
                [
                    ("RPUSH", key, entry),
                    ("EXPIRE", key, REPLY_TTL_S),
                    ("LPUSH", keys.attempts(self._shard, target.id), entry),
                ]
            )
        except StoreError as error:
            log.warning("ping could not be answered", extra={"error": str(error)})

    # Probes and drains

    async def look_after_due(self, owner: "SenderShard") -> None:
        """Probes open endpoints and drains those that have come back, each at its time."""
        if self.next_due_ms is None or self.next_due_ms > now_ms():
            return
        key = keys.probes(self._shard)
        due = await self._store.execute(
            *("ZRANGE", key, "-inf", now_ms(), "BYSCORE"),
            *("LIMIT", 0, DUE_MAX, "WITHSCORES"),
        )
        for raw, time in pairs(due):
            next_ms = await self._look_after(raw.decode())
            then = "" if next_ms is None else next_ms
            await self._store.call("move_probe", [key], [raw, time, then])
        first = await self._store.execute("ZRANGE", key, 0, 0, "WITHSCORES")
        self.next_due_ms = int(pairs(first)[0][1]) if first else None

    async def _look_after(self, endpoint: str) -> int | None:
        """Does what is due for an endpoint, and returns when to look after it again, if ever."""
        await self._targets.load([endpoint])
        target = self._targets.get(endpoint)
        at_ms = now_ms()
        if target is None:
            # A deleted endpoint's parked work goes back to the stream, where it is suppressed.
            moved = await self._set_free(endpoint, self._drain_max)
            return at_ms if moved else None
        health = target.health
        if health.state is EndpointState.ACTIVE:
            moved = await self._set_free(endpoint, self._drain_max, gap_ms=self._drain_gap_ms)
            return at_ms + round(self._drain_gap_ms * moved) if moved else None
        if health.open_until_ms is None or health.open_until_ms > at_ms:
            return health.open_until_ms  # None after a 410: only a call brings it back
        moved = await self._set_free(endpoint, 1)
        return at_ms + PROBE_AGAIN_MS if moved else None

    async def _set_free(self, endpoint: str, count: int, *, gap_ms: float = 0.0) -> int:
        """Puts up to `count` of what is parked back on its way; returns how many there were."""
        parked = keys.parked(self._shard, endpoint)
        raw = await self._store.execute("ZRANGE", parked, 0, count - 1)
        if raw:
            at_ms = now_ms()
            ids = [id_.decode() for id_ in raw]
            await self._ledger.reschedule(ids, at_ms, start_ms=at_ms, gap_ms=gap_ms)
        return len(raw)


def _state(target: Target | None) -> EndpointState:
    return EndpointState.ACTIVE if target is None else target.health.state
