"""Clears up after the dead and the forgotten: gateways gone, dead letters too old.

It also looks at what waits in its shard, since it comes by anyway.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Collection
from dataclasses import dataclass, field
from typing import Any

from app.clock import now_ms
from app.errors import StoreError
from app.store import keys
from app.store.backlog import read_backlog, read_memory
from app.store.client import Store
from app.store.nodes import give_up
from workers.backlogs import Backlogs
from workers.pulse import Pulse

log = logging.getLogger(__name__)

SCAN_COUNT = 500
NODE_LIFE_S = 30.0
# How long a dead gateway stays listed, so that the janitors of all shards come to see it.
NODE_KEPT_S = 600.0
# Every so often all routes are looked through, for gateways that are listed nowhere any more.
SEARCH_EVERY_S = 1_800.0


@dataclass(slots=True)
class JanitorStats:
    """Counters of one worker, all shards together, and what it last saw in each."""

    nodes_removed: int = 0
    routes_cleaned: int = 0
    dead_expired: int = 0
    failures: int = 0
    backlogs: Backlogs = field(default_factory=Backlogs)


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
        self._searched_ms = 0
        self._cleared: set[str] = set()  # dead gateways still listed that are in no route here
        self.pulse = Pulse()

    def stop(self) -> None:
        self._stopping.set()

    def abandon(self) -> None:
        """Two janitors on one shard do no harm: every step can be done twice."""
        self.stop()

    async def run(self) -> None:
        try:
            await self._keep_tidy()
        finally:
            self._stats.backlogs.forget(self._shard)

    async def _keep_tidy(self) -> None:
        while not self._stopping.is_set():
            self.pulse.begin()
            try:
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
        await self._look(at_ms)
        await self._expire_dead(at_ms)
        dead, _ = await self._nodes(at_ms)
        await self._clear_nodes(dead - self._cleared)
        self._cleared = dead
        if abs(at_ms - self._searched_ms) >= SEARCH_EVERY_S * 1000:
            await self._search(at_ms)
            self._searched_ms = at_ms

    async def _look(self, at_ms: int) -> None:
        """Takes down what waits here. Shard 0 stands for the servers: they are nobody's."""
        seen = self._stats.backlogs
        seen.shards[self._shard] = await read_backlog(self._store, self._shard, at_ms)
        if self._shard == 0:
            seen.servers = await read_memory(self._store)

    async def _search(self, at_ms: int) -> None:
        """Looks through all routes, for gateways that no list leads to."""
        named = await self._named_nodes()
        # Asked afterwards: a gateway says that it lives before its name stands in a route.
        _, living = await self._nodes(at_ms)
        await self._clear_nodes(named - living)

    async def _expire_dead(self, at_ms: int) -> None:
        """Takes away what is older than the retention, in parts that hold nobody up."""
        key = keys.dead(self._shard)
        before = at_ms - self._retention_s * 1000
        while True:
            old = await self._store.execute(
                "ZRANGE", key, "-inf", f"({before}", "BYSCORE", "LIMIT", 0, SCAN_COUNT
            )
            if old:
                self._stats.dead_expired += await self._store.execute("ZREM", key, *old)
            if len(old) < SCAN_COUNT:
                return

    # Gateways

    async def _nodes(self, at_ms: int) -> tuple[set[str], set[str]]:
        """Gateways that have not said for long that they live, and those that have."""
        oldest_ms = at_ms - round(NODE_LIFE_S * 1000)
        forgotten_ms = at_ms - round(NODE_KEPT_S * 1000)
        _, dead, living = await self._store.run_many(
            [
                ("ZREMRANGEBYSCORE", keys.NODES, "-inf", forgotten_ms),
                ("ZRANGEBYSCORE", keys.NODES, "-inf", f"({oldest_ms}"),
                ("ZRANGEBYSCORE", keys.NODES, oldest_ms, "+inf"),
            ]
        )
        return {name.decode() for name in dead}, {name.decode() for name in living}

    async def _named_nodes(self) -> set[str]:
        named: set[str] = set()
        async for _, route in self._routes():
            named.update(word[1:] for word in route.split() if word.startswith("@"))
        return named

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

    async def _clear_nodes(self, nodes: Collection[str]) -> None:
        """Takes dead gateways out of all routes here, and out of their streams what is theirs."""
        if not nodes:
            return
        users: dict[str, list[str]] = {node: [] for node in nodes}
        async for user, route in self._routes():
            for word in route.split():
                if word[1:] in users and word.startswith("@"):
                    users[word[1:]].append(user)
        for node, members in users.items():
            await self._clear_node(node, members)

    async def _clear_node(self, node: str, users: list[str]) -> None:
        self._stats.routes_cleaned += await give_up(self._store, self._shard, node, users)
        self._stats.nodes_removed += 1
        log.info("gateway is gone", extra={"node": node, "shard": self._shard, "users": len(users)})
