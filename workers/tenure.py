"""Which shards this worker works on: aims at its fair share, renews, lets go, notices loss."""

import asyncio
import contextlib
import logging
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from time import monotonic
from typing import Protocol

from app.clock import now_ms, steady_ms
from app.errors import LeaseLost, StoreError
from app.store.leases import Leases, Slot
from workers.pulse import Pulse

log = logging.getLogger(__name__)

LOOK_S = 0.5  # how soon a lease that has run out elsewhere is noticed
STUCK_S = 30.0  # one step of a loop; the store answers or fails in far less
CUT_S = 1.0  # what is left after the drain's time, for jobs that were told to drop everything


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
        """The lease is not ours any more: begin nothing, write down what counts all the same."""
        ...


class Term:
    """How long a lease surely lasts, by the steady clock in ms. Renewing it moves that on.

    A job looks at it before it begins what cannot be taken back: a process that was stopped has
    its lease running out unnoticed, and the sockets of its requests may be heard before timers.
    """

    __slots__ = ("until_ms",)

    def __init__(self, until_ms: int) -> None:
        self.until_ms = until_ms


JobMaker = Callable[[Slot, Term], Job]


@dataclass(slots=True)
class TenureStats:
    """By role, but for `failures`."""

    taken: Counter[str] = field(default_factory=Counter[str])
    released: Counter[str] = field(default_factory=Counter[str])
    lost: Counter[str] = field(default_factory=Counter[str])
    owned: dict[str, int] = field(default_factory=dict[str, int])
    failures: int = 0


class Phase(Enum):
    """Where a tenure stands. It goes down this list, and ends with its job."""

    HELD = auto()
    LEAVING = auto()  # the job finishes what is under way; then the lease is given back
    GONE = auto()  # the lease is not ours; until its job has ended we do not ask for the slot


class _Tenure:
    __slots__ = ("job", "phase", "slot", "task", "term", "timer")

    def __init__(self, slot: Slot, job: Job, term: Term) -> None:
        self.slot = slot
        self.job = job
        self.term = term
        self.phase = Phase.HELD
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None

    @property
    def is_ours(self) -> bool:
        return self.phase is not Phase.GONE


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
        self._look_s = min(leases.life_s / 4, LOOK_S)
        self._answered_s: float | None = None

    def owns(self, slot: Slot) -> bool:
        tenure = self._tenures.get(slot)
        return tenure is not None and tenure.phase is Phase.HELD

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
        async with asyncio.TaskGroup() as tasks:
            renewing = tasks.create_task(self._keep_renewing(), name="renew-leases")
            while not stop.is_set():
                await self._aim(tasks)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._look_s * random.uniform(0.9, 1.0)):
                        await stop.wait()
            await self._stop_all(drain_timeout_s)
            renewing.cancel()

    # Keeping

    async def _keep_renewing(self) -> None:
        """On its own: nothing else that the store is slow to answer must cost us leases."""
        while True:
            wait_s = self._leases.life_s / 4
            try:
                await self._renew()
            except StoreError as error:
                self._note_failure(error)
                wait_s /= 2
            await asyncio.sleep(wait_s * random.uniform(0.9, 1.0))

    async def _renew(self) -> None:
        asked = {slot: tenure for slot, tenure in self._tenures.items() if tenure.is_ours}
        until_ms = steady_ms() + self._leases.life_ms
        for slot, is_ours in (await self._leases.renew(asked)).items():
            if is_ours:
                asked[slot].term.until_ms = until_ms
            else:
                self._lose(asked[slot])

    def _note_failure(self, error: StoreError) -> None:
        self._stats.failures += 1
        log.warning("leases wait for the store", extra={"error": str(error)})

    def _watch(self, tenure: _Tenure) -> None:
        """A lease that could not be renewed in time is taken for lost, whatever the store says."""
        left_s = (tenure.term.until_ms - steady_ms()) / 1000
        if left_s <= 0:
            self._lose(tenure)
        elif tenure.is_ours:
            loop = asyncio.get_running_loop()
            tenure.timer = loop.call_later(left_s, self._watch, tenure)

    def _lose(self, tenure: _Tenure) -> None:
        if tenure.is_ours:
            slot = tenure.slot
            tenure.phase = Phase.GONE
            self._stats.lost[slot.role] += 1
            log.warning("lease lost", extra={"role": slot.role, "shard": slot.shard})
            tenure.job.abandon()

    # Taking and letting go

    async def _aim(self, tasks: asyncio.TaskGroup) -> None:
        """Takes or lets go what the fair share differs by."""
        try:
            for role in self._makers:
                live = await self._leases.beat(role, now_ms())
                await self._balance(role, max(live, 1), tasks)
            self._answered_s = monotonic()
        except StoreError as error:
            self._note_failure(error)
        for role in self._makers:
            self._stats.owned[role] = len(self._held(role))

    def _held(self, role: str) -> list[_Tenure]:
        return [t for t in self._tenures.values() if t.slot.role == role and t.phase is Phase.HELD]

    async def _balance(self, role: str, live: int, tasks: asyncio.TaskGroup) -> None:
        held = self._held(role)
        share = math.ceil(self._shards / live)
        if len(held) > share:
            for tenure in random.sample(held, len(held) - share):
                self._let_go(tenure)
        elif len(held) < share:
            await self._take(role, share - len(held), tasks)

    async def _take(self, role: str, wanted: int, tasks: asyncio.TaskGroup) -> None:
        slots = [Slot(role, shard) for shard in range(self._shards)]
        free = [slot for slot in slots if slot not in self._tenures]
        random.shuffle(free)
        while free and wanted > 0:
            asked, free = free[:wanted], free[wanted:]
            until_ms = steady_ms() + self._leases.life_ms
            for slot in await self._leases.acquire(asked):
                self._begin(slot, Term(until_ms), tasks)
                wanted -= 1

    def _begin(self, slot: Slot, term: Term, tasks: asyncio.TaskGroup) -> None:
        job = self._makers[slot.role](slot, term)
        tenure = self._tenures[slot] = _Tenure(slot, job, term)
        tenure.task = tasks.create_task(self._serve(tenure), name=f"{slot.role}-{slot.shard}")
        self._watch(tenure)
        self._stats.taken[slot.role] += 1

    def _let_go(self, tenure: _Tenure) -> None:
        """Another worker is to have this shard: finish what is under way, then give it back."""
        if tenure.phase is Phase.HELD:
            tenure.phase = Phase.LEAVING
            tenure.job.stop()

    async def _serve(self, tenure: _Tenure) -> None:
        """One tenure: the job to its end, then the lease is given back if it is still ours."""
        try:
            await self._work(tenure)
        finally:
            if tenure.timer is not None:
                tenure.timer.cancel()
            # Only now: while this lasts, the slot must not be asked for again.
            del self._tenures[tenure.slot]

    async def _work(self, tenure: _Tenure) -> None:
        try:
            await tenure.job.run()
        except LeaseLost:
            self._lose(tenure)
        if tenure.is_ours:
            tenure.phase = Phase.GONE
            self._stats.released[tenure.slot.role] += 1
            with contextlib.suppress(StoreError):  # it runs out by itself
                await self._leases.release([tenure.slot])

    # Stopping

    async def _stop_all(self, drain_timeout_s: float) -> None:
        """Every job finishes, its lease kept alive meanwhile, and given back as soon as it has."""
        for tenure in self._tenures.values():
            self._let_go(tenure)
        with contextlib.suppress(StoreError):  # the mark of life runs out by itself
            await self._leases.leave(list(self._makers))
        if running := self._running():
            await asyncio.wait(running, timeout=drain_timeout_s)
        await self._cut()

    def _running(self) -> list[asyncio.Task[None]]:
        return [tenure.task for tenure in self._tenures.values() if tenure.task is not None]

    async def _cut(self) -> None:
        """The time for draining is over: what is still under way is the next owner's."""
        for tenure in self._tenures.values():
            slot = tenure.slot
            log.warning("not drained in time", extra={"role": slot.role, "shard": slot.shard})
            tenure.job.abandon()
        if running := self._running():
            await asyncio.wait(running, timeout=CUT_S)
        for task in self._running():
            task.cancel()
