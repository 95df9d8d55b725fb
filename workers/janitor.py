"""Clears up after the dead and the forgotten: gateways gone, letters and parked work too old."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from app.clock import now_ms
from app.errors import StoreError
from app.store import keys
from app.store.client import Call, Store
from workers.pulse import Pulse

log = logging.getLogger(__name__)

SCAN_COUNT = 500
NODE_LIFE_S = 30.0


@dataclass(slots=True)
class JanitorStats:
    nodes_removed: int = 0
    routes_cleaned: int = 0
    dead_expired: int = 0
    failures: int = 0


class JanitorShard:
    """Looks after one shard while it holds the lease on that."""

    def __init__(
        self,
        store: Store,
        *,
        shard: int,
        retention_s: int,
        stats: JanitorStats,
        period_s: float = 10.0,
    ) -> None:
        self._store = store
        self._shard = shard
        self._retention_s = retention_s
        self._stats = stats
        self._period_s = period_s
        self._stopping = asyncio.Event()
        self.pulse = Pulse()

    def stop(self) -> None:
        self._stopping.set()

    def abandon(self) -> None:
        """Two janitors on one shard do no harm: every step can be done twice."""
        self.stop()

    async def run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.pulse.begin()
                await self.tidy(now_ms())
            except StoreError as error:
                self._stats.failures += 1
                log.warning(
                    "janitor waits for the store",
                    extra={"shard": self._shard, "error": str(error)},
                )
            self.pulse.rest()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._period_s):
                    await self._stopping.wait()

    async def tidy(self, at_ms: int) -> None:
        """One pass over the shard."""
        await self._expire_dead(at_ms)
        for node in await self._lost_nodes(at_ms):
            await self._remove_node(node)

    async def _expire_dead(self, at_ms: int) -> None:
        before = at_ms - self._retention_s * 1000
        expired = await self._store.execute(
            "ZREMRANGEBYSCORE", keys.dead(self._shard), "-inf", before
        )
        self._stats.dead_expired += expired

    async def _lost_nodes(self, at_ms: int) -> list[str]:
        """Nodes named in the routes here that have not said for long that they live."""
        alive = await self._store.execute(
            "ZRANGEBYSCORE", keys.NODES, at_ms - round(NODE_LIFE_S * 1000), "+inf"
        )
        living = {name.decode() for name in alive}
        named: set[str] = set()
        async for _, route in self._routes():
            named.update(word[1:] for word in route.split() if word.startswith("@"))
        return sorted(named - living)

    async def _routes(self) -> AsyncGenerator[tuple[str, str]]:
        cursor: Any = 0
        while True:
            cursor, flat = await self._store.execute(
                "HSCAN", keys.routes(self._shard), cursor, "COUNT", SCAN_COUNT
            )
            for user, route in zip(flat[0::2], flat[1::2], strict=True):
                yield user.decode(), route.decode()
            if int(cursor) == 0:
                return

    async def _remove_node(self, node: str) -> None:
        """Takes a dead node out of all routes here, and its stream away."""
        word = f"@{node}"
        users = [user async for user, route in self._routes() if word in route.split()]
        for start in range(0, len(users), SCAN_COUNT):
            part = users[start : start + SCAN_COUNT]
            (changed,) = await self._store.call_many(
                [Call("leave_node", [keys.routes(self._shard)], [node, *part])]
            )
            self._stats.routes_cleaned += changed
        await self._store.run_many(
            [
                ("DEL", keys.sockets(self._shard, node)),
                ("ZREM", keys.NODES, node),
            ]
        )
        self._stats.nodes_removed += 1
        log.info("gateway is gone", extra={"node": node, "shard": self._shard, "users": len(users)})
