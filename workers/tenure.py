"""Which shards this worker works on: aims at its fair share, renews, lets go, notices loss."""

import asyncio
import contextlib
import logging
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

from app.clock import now_ms
from app.errors import LeaseLost, StoreError
from app.store.leases import Leases, Slot
from workers.pulse import Pulse

log = logging.getLogger(__name__)

STUCK_S = 30.0  # one step of a loop; the store answers or fails in far less


class Job(Protocol):
    """The work on one shard in one role, for as long as the lease is ours."""

    pulse: Pulse

    async def run(self) -> None:
        """Works until told to stop. Raises `LeaseLost` when the store says so."""
        ...

    def stop(self) -> None:
        """Finish what is under way and return from `run`."""
        ...

    def abandon(self) -> None:
        """The lease is another's: drop what is under way and return from `run`."""
        ...


JobMaker = Callable[[Slot], Job]


@dataclass(slots=True)
class TenureStats:
    """By role, but for `failures`."""

    taken: Counter[str] = field(default_factory=Counter[str])
    released: Counter[str] = field(default_factory=Counter[str])
    lost: Counter[str] = field(default_factory=Counter[str])
    owned: dict[str, int] = field(default_factory=dict[str, int])
    failures: int = 0


@dataclass(slots=True)
class _Tenure:
    job: Job
    task: asyncio.Task[None]
    until: float  # loop time at which the lease surely has run out


class TenureKeeper:
    """Holds leases in some roles and runs one job for each."""

    def __init__(
        self, leases: Leases, makers: dict[str, JobMaker], shards: int, stats: TenureStats
    ) -> None:
        self._leases = leases
        self._makers = makers
        self._shards = shards
        self._stats = stats
        self._tenures: dict[Slot, _Tenure] = {}
        self._letting_go: dict[Slot, _Tenure] = {}
        self._answered_s: float | None = None

    def owns(self, slot: Slot) -> bool:
        return slot in self._tenures

    def unready(self) -> str | None:
        """Why this worker may not be moving what it should; None when it is."""
        if self._answered_s is None:
            return "the store has not answered for the leases yet"
        silent_s = monotonic() - self._answered_s
        if silent_s > self._leases.life_s:
            return f"the store has not answered for the leases for {silent_s:.0f} s"
        for slot, tenure in self._tenures.items():
            if tenure.job.pulse.busy_s > STUCK_S:
                return f"{slot.role} of shard {slot.shard} has not moved for {STUCK_S:.0f} s"
        return None

    async def run(self, stop: asyncio.Event, drain_timeout_s: float) -> None:
        """Until `stop`; then all jobs finish what is under way and the leases are given back."""
        period_s = self._leases.life_s / 4
        async with asyncio.TaskGroup() as tasks:
            while not stop.is_set():
                began = asyncio.get_running_loop().time()
                try:
                    await self._turn(tasks, began)
                    self._answered_s = monotonic()
                except StoreError as error:
                    self._stats.failures += 1
                    log.warning("leases wait for the store", extra={"error": str(error)})
                self._abandon_overdue()
                left_s = began + period_s * random.uniform(0.9, 1.0)
                left_s -= asyncio.get_running_loop().time()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(left_s, 0.01)):
                        await stop.wait()
            await self._stop_all(drain_timeout_s)

    async def _turn(self, tasks: asyncio.TaskGroup, began: float) -> None:
        await self._renew(began)
        for role in self._makers:
            live = await self._leases.beat(role, now_ms())
            await self._balance(role, max(live, 1), tasks, began)

    async def _renew(self, began: float) -> None:
        held = [*self._tenures, *self._letting_go]
        kept = await self._leases.renew(held)
        for slot in held:
            tenure = self._tenures.get(slot) or self._letting_go.get(slot)
            if tenure is None:
                continue
            if slot in kept:
                tenure.until = began + self._leases.life_s
            else:
                self._lose(slot)

    async def _balance(self, role: str, live: int, tasks: asyncio.TaskGroup, began: float) -> None:
        mine = [slot for slot in self._tenures if slot.role == role]
        share = math.ceil(self._shards / live)
        if len(mine) > share:
            for slot in random.sample(mine, len(mine) - share):
                self._let_go(slot, tasks)
        elif len(mine) < share:
            await self._take(role, share - len(mine), tasks, began)
        self._stats.owned[role] = sum(1 for slot in self._tenures if slot.role == role)

    async def _take(self, role: str, wanted: int, tasks: asyncio.TaskGroup, began: float) -> None:
        free = [
            slot
            for shard in range(self._shards)
            if (slot := Slot(role, shard)) not in self._tenures and slot not in self._letting_go
        ]
        random.shuffle(free)
        while free and wanted > 0:
            asked, free = free[:wanted], free[wanted:]
            for slot in await self._leases.acquire(asked):
                job = self._makers[role](slot)
                task = tasks.create_task(self._work(slot, job), name=f"{role}-{slot.shard}")
                self._tenures[slot] = _Tenure(job, task, began + self._leases.life_s)
                self._stats.taken[role] += 1
                wanted -= 1

    async def _work(self, slot: Slot, job: Job) -> None:
        try:
            await job.run()
        except LeaseLost:
            self._lose(slot)

    def _let_go(self, slot: Slot, tasks: asyncio.TaskGroup) -> None:
        """Another worker is to have this shard: finish what is under way, then give it back."""
        tenure = self._tenures.pop(slot)
        self._letting_go[slot] = tenure
        tenure.job.stop()
        tasks.create_task(self._give_back(slot, tenure), name=f"give-back-{slot.shard}")

    async def _give_back(self, slot: Slot, tenure: _Tenure) -> None:
        await asyncio.wait([tenure.task])
        if self._letting_go.pop(slot, None) is not None:
            self._stats.released[slot.role] += 1
            with contextlib.suppress(StoreError):  # it runs out by itself
                await self._leases.release([slot])

    def _lose(self, slot: Slot) -> None:
        tenure = self._tenures.pop(slot, None) or self._letting_go.pop(slot, None)
        if tenure is not None:
            self._stats.lost[slot.role] += 1
            log.warning("lease lost", extra={"role": slot.role, "shard": slot.shard})
            tenure.job.abandon()

    def _abandon_overdue(self) -> None:
        """A lease that could not be renewed in time is taken for lost, whatever the store says."""
        now = asyncio.get_running_loop().time()
        for slot in [*self._tenures, *self._letting_go]:
            tenure = self._tenures.get(slot) or self._letting_go[slot]
            if now >= tenure.until:
                self._lose(slot)

    async def _stop_all(self, drain_timeout_s: float) -> None:
        """Every job stops; the leases are kept alive meanwhile, and given back at the end."""
        waiting = {**self._tenures, **self._letting_go}
        for tenure in waiting.values():
            tenure.job.stop()
        deadline = asyncio.get_running_loop().time() + drain_timeout_s
        running = {tenure.task for tenure in waiting.values()}
        while running and asyncio.get_running_loop().time() < deadline:
            began = asyncio.get_running_loop().time()
            _, running = await asyncio.wait(running, timeout=self._leases.life_s / 4)
            if running:
                with contextlib.suppress(StoreError):
                    await self._renew(began)
        for slot in waiting:
            if waiting[slot].task in running:
                log.warning("not drained in time", extra={"role": slot.role, "shard": slot.shard})
                waiting[slot].job.abandon()
        if running:
            await asyncio.wait(running)
        held = [slot for slot in waiting if slot in self._tenures or slot in self._letting_go]
        self._tenures.clear()
        self._letting_go.clear()
        with contextlib.suppress(StoreError):  # they run out by themselves
            await self._leases.release(held)
            await self._leases.leave(list(self._makers))
