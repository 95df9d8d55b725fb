"""The store as a role needs it: reached, found fit, and of the right make."""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from app.errors import StoreError
from app.settings import Settings
from app.store.client import Store, connect
from app.store.epoch import EpochWatch
from app.store.fitness import check_fitness
from app.store.schema import Meta, open_schema

_BACKOFF_MAX_S = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """A store that has been found fit, and what it was made for. `stop` ends this process."""

    store: Store
    meta: Meta
    stop: asyncio.Event

    def watch(self) -> EpochWatch:
        return EpochWatch(self.store, self.meta, self.stop)


@contextlib.asynccontextmanager
async def opened_store(settings: Settings, stop: asyncio.Event) -> AsyncGenerator[Opened | None]:
    """The store while the block runs; None when `stop` came before it could be reached.

    A store that is away is waited for. Raises StoreUnfit when it must not be used as it is.
    """
    store = connect(
        settings.redis_url,
        password=settings.redis_password,
        ack_timeout_ms=settings.ack_timeout_ms,
    )
    try:
        yield await _reach(store, settings, stop)
    finally:
        await store.close()


async def _reach(store: Store, settings: Settings, stop: asyncio.Event) -> Opened | None:
    failures = 0
    while not stop.is_set():
        try:
            for warning in await check_fitness(store, settings.ack):
                log.warning(warning)
            return Opened(store, await open_schema(store, settings.shards), stop)
        except StoreError as error:
            failures += 1
            delay_s = min(_BACKOFF_MAX_S, 0.1 * 2.0 ** min(failures, 10)) * random.uniform(0.5, 1)
            log.warning("store unavailable", extra={"reason": str(error), "retry_s": delay_s})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), delay_s)
    return None
