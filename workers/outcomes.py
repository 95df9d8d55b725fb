"""Writes outcomes to the ledger in batches: one script a shard, every few milliseconds."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass

from app.clock import now_ms
from app.domain.delivery import State
from app.errors import StoreError
from app.store import keys
from app.store.client import Store
from app.wire import Record, encode_batch, encode_record, encode_time

log = logging.getLogger(__name__)

BACKOFF_MAX_S = 2.0

Row = tuple[str, int, str, str, int, bytes]
Place = tuple[str, int, int]  # post, version, slice


@dataclass(frozen=True, slots=True)
class OutcomeLimits:
    retention_s: int
    batch_max: int
    wait_s: float
    log_max: int
    parked_max: int
    dead_max: int


@dataclass(slots=True)
class OutcomeStats:
    """Counters of one worker, all shards together."""

    written: int = 0
    refused: int = 0
    dropped: int = 0
    batches: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Written:
    """What one batch has settled: deliveries, entries of both streams, and what is due next:
    a retry, and an endpoint to look after."""

    deliveries: int
    done: list[bytes]
    redone: list[bytes]
    endpoints: list[str]  # whose health is written now, and nothing newer is known
    next_due_ms: int | None
    next_probe_ms: int | None


class _Batch:
    __slots__ = ("done", "health", "redone", "rows", "size")

    def __init__(self) -> None:
        self.rows: dict[Place, list[Row]] = {}
        self.done: list[bytes] = []
        self.redone: list[bytes] = []
        self.health: dict[str, tuple[dict[str, str | int], int]] = {}
        self.size = 0

    @property
    def is_empty(self) -> bool:
        return not (self.size or self.done or self.redone or self.health)


class OutcomeWriter:
    """Collects what became of one shard's deliveries and writes it down, in order.

    One batch is on its way at a time, and it is sent until the store has taken it: its id tells
    the store that it has seen it before.
    """

    def __init__(
        self,
        store: Store,
        *,
        shard: int,
        token: bytes,
        limits: OutcomeLimits,
        stats: OutcomeStats,
        on_written: Callable[[Written], None],
    ) -> None:
        self._store = store
        self._token = token
        self._limits = limits
        self._stats = stats
        self._on_written = on_written
        self._tag = keys.tag(shard)
        self._keys = [
            keys.lease(shard, keys.SENDER),
            keys.retries(shard),
            keys.dead(shard),
            keys.deliveries(shard),
            keys.redeliveries(shard),
            keys.probes(shard),
            keys.batch(shard),
            keys.endpoint_states(shard),
        ]
        self._batch = _Batch()
        self._number = 0
        self._added = asyncio.Event()
        self._full = asyncio.Event()
        self._closing = False
        self._given_up = False

    def add(
        self,
        place: Place,
        endpoint: str,
        state: State,
        attempts: int,
        *,
        at_ms: int,
        status: int = 0,
        error: str = "",
        due_ms: int = 0,
        base: int = 0,
        log_entry: bytes = b"",
    ) -> None:
        """What became of a delivery: its new state, with `attempts` made so far."""
        batch = self._batch
        record = encode_record(Record(state, attempts, status, at_ms, error, due_ms, base))
        row = (endpoint, attempts, state.value, record, due_ms, log_entry)
        rows = batch.rows.get(place)
        if rows is None:
            batch.rows[place] = [row]
        else:
            rows.append(row)
        batch.size += 1
        self._added.set()
        if batch.size >= self._limits.batch_max:
            self._full.set()

    def close_entry(self, entry: bytes, again: bool) -> None:
        """All of a stream entry is dealt with: it goes with the batch that says so."""
        (self._batch.redone if again else self._batch.done).append(entry)
        self._added.set()

    def set_health(self, endpoint: str, fields: dict[str, str | int], probe_ms: int = -1) -> None:
        """Fields of an endpoint, and when to look after it next (0: no more, -1: as it was)."""
        old = self._batch.health.get(endpoint)
        if old is not None:
            fields = {**old[0], **fields}
            probe_ms = old[1] if probe_ms < 0 else probe_ms
        self._batch.health[endpoint] = (fields, probe_ms)
        self._added.set()

    def close(self) -> None:
        """Lets `run` write what is left and return."""
        self._closing = True
        self._added.set()
        self._full.set()

    def give_up(self) -> None:
        """The lease is another's: what the store does not take at once stays unwritten."""
        self._given_up = True
        self.close()

    async def run(self) -> None:
        """Until `close`, and then until all is written."""
        while True:
            await self._added.wait()
            if self._batch.is_empty and self._closing:
                return
            if not self._closing and self._batch.size < self._limits.batch_max:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._limits.wait_s):
                        await self._full.wait()
            batch, self._batch = self._batch, _Batch()
            if not self._closing:
                self._added.clear()
                self._full.clear()
            if not batch.is_empty:
                await self._write(batch)

    async def _write(self, batch: _Batch) -> None:
        self._number += 1
        batch_id = b"%b:%d" % (self._token, self._number)
        health = [
            (endpoint, [part for pair in fields.items() for part in pair], probe_ms)
            for endpoint, (fields, probe_ms) in batch.health.items()
        ]
        slices = [(*place, rows) for place, rows in batch.rows.items()]
        packed = encode_batch((slices, batch.done, batch.redone, health))
        failures = 0
        while True:
            try:
                answer = await self._send(packed, batch_id)
                break
            except StoreError as error:
                failures += 1
                self._stats.failures += 1
                if self._given_up:
                    log.warning("outcomes left to the next owner", extra={"error": str(error)})
                    return
                log.warning("outcomes wait for the store", extra={"error": str(error)})
                pause_s = min(BACKOFF_MAX_S, 0.05 * 2 ** min(failures, 10))
                await asyncio.sleep(random.uniform(0.5, 1) * pause_s)
        accepted, refused, dropped, next_due = answer
        self._stats.batches += 1
        self._stats.written += accepted
        self._stats.refused += refused
        self._stats.dropped += dropped
        due_ms = int(float(next_due)) if next_due else None
        settled = [endpoint for endpoint in batch.health if endpoint not in self._batch.health]
        probes = (probe_ms for _, probe_ms in batch.health.values() if probe_ms > 0)
        probe_ms = min(probes, default=None)
        self._on_written(Written(batch.size, batch.done, batch.redone, settled, due_ms, probe_ms))

    async def _send(self, packed: bytes, batch_id: bytes) -> tuple[int, int, int, bytes]:
        limits, at_ms = self._limits, now_ms()
        return await self._store.call(
            "record_outcomes",
            self._keys,
            [
                *(self._token, keys.GROUP, self._tag, at_ms, limits.retention_s),
                *(limits.log_max, limits.parked_max, limits.dead_max, packed),
                *(encode_time(at_ms), batch_id),
            ],
        )
