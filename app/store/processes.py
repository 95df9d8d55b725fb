"""What each process tells of itself: a snapshot of its counters, written anew every second.

One small write for each process, whatever it is busy with. The key goes by itself when its process
does not write it any more.
"""

import asyncio
import contextlib
import logging
import os
import resource
import sys
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from app import __version__
from app import metric_names as names
from app.clock import now_ms
from app.domain.shard import shard_of
from app.domain.snapshot import Snapshot
from app.errors import DecodeError, StoreError
from app.metric import Metric
from app.metrics import Histogram, Labels, Metrics
from app.store import keys
from app.store.client import Store
from app.wire import decode_json, encode_json

log = logging.getLogger(__name__)

EVERY_S: Final = 1.0
TTL_S: Final = 10


class Publisher:
    """Says again and again how this process is. `clock` is in Unix milliseconds."""

    def __init__(
        self,
        store: Store,
        shards: int,
        id_: str,
        role: str,
        counters: Metrics,
        *,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._store = store
        self._key = keys.process(shard_of(id_, shards), id_)
        self._id = id_
        self._role = role
        self._counters = counters
        self._clock = clock
        self._started_at_ms = clock()
        self._is_failing = False

    def look(self) -> Snapshot:
        """This process as it is now."""
        count = self._count
        settled = count(names.DELIVERIES_SETTLED, "state", "delivered")
        return Snapshot(
            id=self._id,
            role=self._role,
            version=__version__,
            at_ms=self._clock(),
            started_at_ms=self._started_at_ms,
            memory_bytes=resident_bytes(),
            delivered={"webhook": settled, "socket": count(names.FRAMES_SENT)},
            push_counts=self._push_counts(),
            sockets_open=count(names.SOCKETS_OPEN),
            attempts_open=count(names.ATTEMPTS_OPEN),
            leases_held=count(names.LEASES_HELD),
            posts_accepted=count(names.POSTS_ACCEPTED),
        )

    async def publish(self) -> None:
        """Raises StoreError."""
        text = encode_json(self.look().as_fields())
        await self._store.execute("SET", self._key, text, "EX", TTL_S)

    async def leave(self) -> None:
        """Takes the snapshot away: this process ends. Raises StoreError."""
        await self._store.execute("DEL", self._key)

    async def run(self, every_s: float = EVERY_S) -> None:
        """Until it is cancelled. Outages of the store are waited out; a counter that cannot be read
        costs a line, not the process."""
        while True:
            try:
                await self.publish()
                self._is_failing = False
            except StoreError as error:
                if not self._is_failing:
                    details = {"reader": "snapshot", "error": str(error)}
                    log.warning("store unavailable", extra=details)
                self._is_failing = True
            except Exception:
                if not self._is_failing:
                    log.exception("snapshot cannot be made")
                self._is_failing = True
            await asyncio.sleep(every_s)

    def _count(self, metric: Metric, label: str = "", value: str = "") -> int:
        """A metric as one number: all its entries, or those with a label; 0 where there is none."""
        if metric not in self._counters:
            return 0
        found = self._counters.read(metric)
        entries = found if isinstance(found, Mapping) else {_NO_LABELS: found}
        return sum(
            int(entry)
            for labels, entry in entries.items()
            if not isinstance(entry, Histogram) and (not label or (label, value) in labels)
        )

    def _push_counts(self) -> dict[str, list[int]]:
        if names.PUSH_TIME not in self._counters:
            return {}
        found = self._counters.read(names.PUSH_TIME)
        assert isinstance(found, Mapping)
        return {
            dict(labels)["channel"]: list(entry.counts)
            for labels, entry in found.items()
            if isinstance(entry, Histogram)
        }


_NO_LABELS: Final[Labels] = ()


@asynccontextmanager
async def published(publisher: Publisher) -> AsyncGenerator[None]:
    """While the block runs, others can see how this process is."""
    task = asyncio.create_task(publisher.run(), name="snapshot")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with contextlib.suppress(StoreError):  # it goes by itself soon
            await publisher.leave()


async def read_processes(store: Store, shards: int, ids: Collection[str]) -> list[Snapshot]:
    """Those of these processes that have told of themselves lately, in one round trip."""
    raws = await store.run_many([("GET", keys.process(shard_of(id_, shards), id_)) for id_ in ids])
    return [found for raw in raws if raw is not None and (found := _decode(raw)) is not None]


def _decode(raw: bytes) -> Snapshot | None:
    """None for what another release wrote in another form."""
    try:
        return Snapshot.of_fields(decode_json(raw))
    except (DecodeError, ValueError):
        return None


def resident_bytes() -> int:
    """Memory of this process that is in RAM; where the system does not tell, the most it was."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
