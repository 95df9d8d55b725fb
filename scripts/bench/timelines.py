"""Fan-out on write as redis-py is usually made to do it, as a system under test."""

import asyncio
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.errors import CommandFailed
from app.store.embedded import EmbeddedServer
from scripts.bench.peer_process import PeerProcess
from scripts.bench.plays import Load, Spent, spent
from scripts.bench.process_tree import trees_cpu_s
from scripts.bench.service_pipeline import LEAD_US
from scripts.load.orders import now_us
from scripts.load.workload import Workload

# What else there is beside lists of ids: see `peers/timelines.py`.
MANNERS: Final = {
    "lists": "redis-py, lists alone",
    "ledger": "redis-py, lists and ledger",
    "jobs": "redis-py, lists, ledger and jobs",
}


@dataclass(frozen=True, slots=True)
class Timelines:
    """One process and a store of its own, set up as the service's."""

    manner: str
    store: EmbeddedServer
    worker: PeerProcess
    workload: Workload

    @property
    def name(self) -> str:
        return MANNERS[self.manner]

    async def play(self, load: Load) -> Spent:
        authors = self.workload.authors
        deliveries = load.posts * len(authors[0].friends)
        before_s = trees_cpu_s(self._pids())
        turns = zip(load.arrivals_us(), load.authors(len(authors)), strict=True)
        answer = await self.worker.ask(
            begin_us=now_us() + LEAD_US, arrivals=list(turns), manner=self.manner
        )
        if answer["recipients"] != deliveries:
            raise CommandFailed(f"{self.name}: {answer['recipients']:,} of {deliveries:,} got it")
        return spent(before_s, trees_cpu_s(self._pids()), deliveries)

    def _pids(self) -> dict[str, int]:
        assert self.store.pid is not None
        return {"store": self.store.pid, "worker": self.worker.pid}


async def open_timelines(
    open_: AsyncExitStack, directory: Path, workload: Workload, manner: str
) -> Timelines:
    """With everybody followed already. It is gone when `open_` is closed."""
    store = EmbeddedServer(directory / manner)
    open_.callback(store.stop)
    await asyncio.to_thread(store.start)
    worker = PeerProcess(
        f"timelines-{manner}", (sys.executable, "timelines.py", store.url), directory
    )
    await open_.enter_async_context(worker)
    people = workload.people
    circles = [[people[number] for number in author.friends] for author in workload.authors]
    await worker.ask(follow=circles)
    return Timelines(manner, store, worker, workload)
