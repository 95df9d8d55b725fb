"""The canary of this process: sent through the streams again and again, so that readiness shows
whether posts would move.
"""

import asyncio
import logging
from collections.abc import Callable

from app.clock import now_ms
from app.errors import StoreError
from app.store import keys
from app.store.canary import emit, newest_ms
from app.store.client import Store

log = logging.getLogger(__name__)

EVERY_S = 5.0
EVERY_WHEN_LOST_S = 30.0  # while nothing comes through: it would only pile up


class Canary:
    """Sends a canary on one shard after the other until `stop`."""

    def __init__(
        self,
        store: Store,
        shards: int,
        *,
        backlog_max: int,
        every_s: float = EVERY_S,
        clock_ms: Callable[[], int] = now_ms,
    ) -> None:
        self._store = store
        self._shards = shards
        self._backlog_max = backlog_max
        self._every_s = every_s
        self._clock_ms = clock_ms
        self._sent_ms = 0
        self._newest_ms = clock_ms()  # until one has come through: when this process began

    def age_s(self) -> float:
        """Of the newest one that came through, in seconds; of this process before the first."""
        return max(self._clock_ms() - self._newest_ms, 0) / 1000

    async def run(self, stop: asyncio.Event) -> None:
        shard = 0
        while not stop.is_set():
            try:
                await self._send(shard)
            except StoreError as error:
                log.warning("store unavailable", extra={"reader": "canary", "error": str(error)})
            shard = (shard + 1) % self._shards
            try:
                async with asyncio.timeout(self._every_s):
                    await stop.wait()
            except TimeoutError:
                continue

    async def _send(self, shard: int) -> None:
        now = self._clock_ms()
        newest = await newest_ms(self._store, self._shards)
        if newest is not None:
            self._newest_ms = newest
        is_lost = self._sent_ms > 0 and (newest is None or newest < self._sent_ms)
        if is_lost and now - self._sent_ms < EVERY_WHEN_LOST_S * 1000:
            return
        # A shard without a worker takes canaries up to the bound that posts have as well.
        if await self._store.execute("XLEN", keys.posts(shard)) >= self._backlog_max:
            return
        await emit(self._store, shard, now)
        self._sent_ms = now
