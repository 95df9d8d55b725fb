"""Noticing that a store in use has begun anew: it was emptied, or another stands in its place."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from app.errors import StoreError, StoreUnfit
from app.store.client import Store
from app.store.schema import Meta, open_schema, read_schema

log = logging.getLogger(__name__)

LOOK_S = 1.0  # one HMGET of each process

# Gets the new epoch. What it has not managed, because the store is away, it is asked for again.
BeginAnew = Callable[[str], Awaitable[None]]


class EpochWatch:
    """Looks, again and again, whether the store still has the epoch that it was opened with.

    An empty one is made for what it was made for before. So whoever looks first decides the new
    epoch, and all others come to know it. When the new one is not for this process, which has
    another number of shards or is too old, `stop` is set: at its next start it says so.
    """

    def __init__(self, store: Store, meta: Meta, stop: asyncio.Event) -> None:
        self._store = store
        self._meta = meta
        self._stop = stop

    async def run(self, begin_anew: BeginAnew) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self._look(begin_anew)
            except StoreError as error:
                log.debug("store unavailable", extra={"reader": "epoch", "error": str(error)})
            except StoreUnfit as error:
                log.critical("stopping: another store is in the place of ours: %s", error)
                self._stop.set()
                return

    async def _look(self, begin_anew: BeginAnew) -> None:
        shards = self._meta.shards
        meta = await read_schema(self._store, shards) or await open_schema(self._store, shards)
        if meta.epoch == self._meta.epoch:
            return
        log.warning(
            "the store has begun anew, what was in it is gone",
            extra={"epoch": meta.epoch, "epoch_before": self._meta.epoch},
        )
        await begin_anew(meta.epoch)
        self._meta = meta
