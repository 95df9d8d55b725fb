"""Writes outcomes to the ledger in batches: one script a shard, every few milliseconds."""

import asyncio
import contextlib
import logging
import random
import secrets
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from app.clock import now_ms
from app.domain.delivery import State
from app.errors import StoreError
from app.store import keys
from app.store.client import Store
from app.wire import encode_batch, encode_time, pack_record
from workers.notices import Notice

log = logging.getLogger(__name__)

BACKOFF_MAX_S = 2.0
PATIENCE_S = 30.0  # how long outcomes of a lease that is lost are offered to a store that is away

Row = tuple[str, int, State, str, int, bytes, int]
Place = tuple[str, int, int]  # post, version, slice
Fields = dict[str, str | int]


def log_ttl_s(retention_s: int) -> int:
    """Of an attempt log: a quarter more, so that few attempts have to put its end off."""
    return retention_s * 5 // 4


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
    unparked: int = 0  # dead because their endpoint's list was full
    dropped: int = 0  # dead letters that made room for others
    batches: int = 0
    batches_full: int = 0
    failures: int = 0

    def made_room(self) -> dict[str, int]:
        """Deliveries that had to make room for others, by the limit that was reached."""
        return {"parked_max": self.unparked, "dead_letters_max": self.dropped}


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


# As `record_outcomes` gives it.
_Answer = tuple[int, int, int, int, bytes, bytes]


class _Batch:
    """`size` counts whatever makes the script work, so that no batch holds up the store."""

    __slots__ = ("done", "health", "redone", "rows", "rows_count", "size")

    def __init__(self) -> None:
        self.rows: dict[Place, list[Row]] = {}
        self.rows_count = 0
        self.done: list[bytes] = []
        self.redone: list[bytes] = []
        self.health: dict[str, tuple[Fields, int, Notice | None]] = {}
        self.size = 0


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
        self._batch = _Batch()  # being filled
        self._full_ones: deque[_Batch] = deque()
        self._unwritten: Counter[str] = Counter()  # endpoints by batches that tell of their health
        # A worker may own a shard again, with the same token: its first batch is another then.
        self._series = secrets.token_hex(4)
        self._number = 0
        self._added = asyncio.Event()
        self._full = asyncio.Event()
        self._closing = False
        self._patient_until: float | None = None

    # What comes in

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
        scheduled_ms: int | None = None,
        base: int = 0,
        log_entry: bytes = b"",
        renews_log: bool = False,
        entry: bytes | None = None,
        again: bool = False,
    ) -> None:
        """What became of a delivery: its new state, with `attempts` made so far.

        `due_ms` is by the wall clock; `scheduled_ms` the same by the schedule's, if that differs.

        With `entry` this was the last one of that stream entry, which is acknowledged in the same
        step: a delivery back on the schedule must not be in the stream as well.
        """
        batch = self._batch
        record = pack_record(state, attempts, status, at_ms, error, due_ms, base)
        row = (
            endpoint,
            attempts,
            state,
            record,
            due_ms if scheduled_ms is None else scheduled_ms,
            log_entry,
            1 if renews_log else 0,
        )
        rows = batch.rows.get(place)
        if rows is None:
            batch.rows[place] = [row]
        else:
            rows.append(row)
        batch.rows_count += 1
        if entry is not None:
            (batch.redone if again else batch.done).append(entry)
        self._note(batch)

    def close_entry(self, entry: bytes, again: bool) -> None:
        """There is nothing to write of a stream entry: it is only acknowledged."""
        batch = self._batch
        (batch.redone if again else batch.done).append(entry)
        self._note(batch)

    def set_health(
        self, endpoint: str, fields: Fields, probe_ms: int = -1, notice: Notice | None = None
    ) -> None:
        """Fields of an endpoint, and when to look after it next (0: no more, -1: as it was).

        The notice is posted if these fields disable the endpoint.
        """
        batch = self._batch
        old = batch.health.get(endpoint)
        if old is None:
            self._unwritten[endpoint] += 1
        else:
            fields = {**old[0], **fields}
            probe_ms = old[1] if probe_ms < 0 else probe_ms
            notice = notice or old[2]
        batch.health[endpoint] = (fields, probe_ms, notice)
        self._note(batch)

    def _note(self, batch: _Batch) -> None:
        batch.size += 1
        if batch.size == 1:
            self._added.set()
        if batch.size >= self._limits.batch_max:
            self._stats.batches_full += 1
            self._full_ones.append(batch)
            self._batch = _Batch()
            self._full.set()

    # What goes out

    def close(self) -> None:
        """Lets `run` write what is left and return."""
        self._closing = True
        self._added.set()
        self._full.set()

    def lose_patience(self, after_s: float = PATIENCE_S) -> None:
        """The lease is another's: what a store that is away does not take in time is dropped."""
        self._patient_until = asyncio.get_running_loop().time() + after_s

    async def run(self) -> None:
        """Until `close`, and then until all is written."""
        while True:
            await self._added.wait()
            if not (self._closing or self._full_ones):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._limits.wait_s):
                        await self._full.wait()
            batch = self._take()
            if batch.size:
                await self._write(batch)
            elif self._closing:
                return

    def _take(self) -> _Batch:
        """The oldest batch; when that is all, there is nothing to do until something is added."""
        if self._full_ones:
            batch = self._full_ones.popleft()
        else:
            batch, self._batch = self._batch, _Batch()
        if not self._closing:
            if not self._full_ones:
                self._full.clear()
            if not (self._full_ones or self._batch.size):
                self._added.clear()
        return batch

    async def _write(self, batch: _Batch) -> None:
        self._number += 1
        batch_id = b"%b:%b:%d" % (self._token, self._series.encode(), self._number)
        packed = _packed(batch)
        failures = 0
        while True:
            try:
                answer = await self._send(packed, batch_id)
                break
            except StoreError as error:
                failures += 1
                self._stats.failures += 1
                if self._is_impatient():
                    log.warning("outcomes left to the next owner", extra={"error": str(error)})
                    return
                log.warning("outcomes wait for the store", extra={"error": str(error)})
                pause_s = min(BACKOFF_MAX_S, 0.05 * 2 ** min(failures, 10))
                await asyncio.sleep(random.uniform(0.5, 1) * pause_s)
        self._note_written(batch, answer)

    def _is_impatient(self) -> bool:
        until = self._patient_until
        return until is not None and asyncio.get_running_loop().time() >= until

    async def _send(self, packed: bytes, batch_id: bytes) -> _Answer:
        limits, at_ms = self._limits, now_ms()
        return await self._store.call(
            "record_outcomes",
            self._keys,
            [
                *(self._token, keys.GROUP, self._tag, at_ms, limits.retention_s),
                *(limits.log_max, limits.parked_max, limits.dead_max, packed),
                *(encode_time(at_ms), batch_id, log_ttl_s(limits.retention_s)),
            ],
        )

    def _note_written(self, batch: _Batch, answer: _Answer) -> None:
        accepted, refused, unparked, dropped, next_due, wake = answer
        self._stats.batches += 1
        self._stats.written += accepted
        self._stats.refused += refused
        self._stats.unparked += unparked
        self._stats.dropped += dropped
        self._unwritten.subtract(batch.health.keys())
        settled = [endpoint for endpoint in batch.health if not self._unwritten[endpoint]]
        for endpoint in settled:
            del self._unwritten[endpoint]
        probes = [probe_ms for _, probe_ms, _ in batch.health.values() if probe_ms > 0]
        if wake:
            probes.append(int(wake))
        self._on_written(
            Written(
                deliveries=batch.rows_count,
                done=batch.done,
                redone=batch.redone,
                endpoints=settled,
                next_due_ms=int(float(next_due)) if next_due else None,
                next_probe_ms=min(probes, default=None),
            )
        )


def _packed(batch: _Batch) -> bytes:
    health = [
        (endpoint, [part for pair in fields.items() for part in pair], probe_ms, notice or ())
        for endpoint, (fields, probe_ms, notice) in batch.health.items()
    ]
    slices = [(*place, rows) for place, rows in batch.rows.items()]
    return encode_batch((slices, batch.done, batch.redone, health))
