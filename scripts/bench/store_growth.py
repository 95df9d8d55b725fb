"""How much a store grows: a system under test, and the memory that its plays have taken."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import redis

from scripts.bench.plays import Load, Spent, System

# The store's buffers for its clients and its log are as they were by then.
_AT_REST_S = 0.3


@dataclass(slots=True)
class StoreGrowth:
    """`grown`: bytes of used_memory for each delivery of each play so far. `aside`: keys that are
    left out."""

    system: System
    url: str
    aside: Sequence[bytes] = ()
    grown: list[float] = field(default_factory=list[float])

    @property
    def name(self) -> str:
        return self.system.name

    async def play(self, load: Load) -> Spent:
        before = await self._used_bytes()
        cost = await self.system.play(load)
        self.grown.append((await self._used_bytes() - before) / cost.deliveries)
        return cost

    async def _used_bytes(self) -> int:
        await asyncio.sleep(_AT_REST_S)
        return await asyncio.to_thread(self._read)

    def _read(self) -> int:
        with redis.Redis.from_url(self.url) as store:
            used = int(store.info("memory")["used_memory"])
            beside = [store.memory_usage(key, samples=0) for key in self.aside]
        return used - sum(filter(None, beside))
