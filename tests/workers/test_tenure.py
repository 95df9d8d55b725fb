"""Who owns which shard: shares, takeovers, losses, drains. Jobs are stand-ins, leases are real."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.errors import LeaseLost, StoreUnavailable
from app.store import keys
from app.store.client import Store
from app.store.leases import Leases, Slot
from tests.wait import wait_until
from tests.workers.faulty import FaultyStore
from workers.pulse import Pulse
from workers.tenure import TenureKeeper, TenureStats

SHARDS = 8
LIFE_S = 0.6
ROLE = keys.SENDER


class Jobs:
    """Every job there is. `at_work` says whose; two at once on one shard fail the test."""

    def __init__(self) -> None:
        self.at_work: dict[Slot, Job] = {}
        self.made: list[Job] = []

    def owners(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for job in self.at_work.values():
            counts[job.owner] = counts.get(job.owner, 0) + 1
        return counts


class Job:
    """Works until stopped, and then until `drained` is set, if there is something to drain."""

    def __init__(self, jobs: Jobs, owner: str, slot: Slot) -> None:
        self.jobs, self.owner, self.slot = jobs, owner, slot
        self.pulse = Pulse()
        self.drained = asyncio.Event()
        self.drained.set()
        self.stopped = asyncio.Event()
        self.error: BaseException | None = None
        self.is_abandoned = False
        jobs.made.append(self)

    def stop(self) -> None:
        self.stopped.set()

    def abandon(self) -> None:
        self.is_abandoned = True
        if self.jobs.at_work.get(self.slot) is self:
            del self.jobs.at_work[self.slot]
        self.stop()

    def die(self, error: BaseException) -> None:
        self.error = error
        self.stop()

    async def run(self) -> None:
        assert self.slot not in self.jobs.at_work, f"{self.slot} has two owners"
        self.jobs.at_work[self.slot] = self
        try:
            await self.stopped.wait()
            if self.error is not None:
                raise self.error
            await self.drained.wait()
        finally:
            if self.jobs.at_work.get(self.slot) is self:
                del self.jobs.at_work[self.slot]


class Worker:
    """A keeper at work."""

    def __init__(self, store: Any, jobs: Jobs, name: str, life_s: float, drain_s: float) -> None:
        self.stats = TenureStats()
        self.leases = Leases(store, name, life_s=life_s)
        self.stop = asyncio.Event()
        make = {ROLE: lambda slot, _: Job(jobs, name, slot)}
        self.keeper = TenureKeeper(self.leases, make, SHARDS, self.stats)
        self.run = asyncio.create_task(self.keeper.run(self.stop, drain_s), name=name)

    def kill(self) -> None:
        """As kill -9 does: nothing is given back."""
        self.leases.release = _nothing  # type: ignore[method-assign]
        self.leases.leave = _nothing  # type: ignore[method-assign]
        self.run.cancel()


async def _nothing(*_: Any) -> None: ...


class Workers:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.jobs = Jobs()
        self.running: dict[str, Worker] = {}

    def start(
        self, name: str, through: Any = None, *, life_s: float = LIFE_S, drain_s: float = 5.0
    ) -> Worker:
        store = through or self.store
        self.running[name] = Worker(store, self.jobs, name, life_s, drain_s)
        return self.running[name]

    async def owned(self, **counts: int) -> None:
        await wait_until(lambda: self.jobs.owners() == counts)


@pytest.fixture
async def workers(single_store: Store) -> AsyncIterator[Workers]:
    async with _working(Workers(single_store)) as workers:
        yield workers


@asynccontextmanager
async def _working(workers: Workers) -> AsyncIterator[Workers]:
    try:
        yield workers
    finally:
        for worker in workers.running.values():
            worker.run.cancel()
        runs = [worker.run for worker in workers.running.values()]
        await asyncio.gather(*runs, return_exceptions=True)


# Shares


async def test_a_worker_alone_takes_every_shard(workers: Workers):
    workers.start("a")
    await workers.owned(a=8)


async def test_workers_come_and_go_and_each_has_its_fair_share(workers: Workers):
    workers.start("a")
    await workers.owned(a=8)
    workers.start("b")
    await workers.owned(a=4, b=4)
    workers.start("c")
    await wait_until(lambda: sorted(workers.jobs.owners().values()) == [2, 3, 3])
    workers.running["a"].stop.set()
    await workers.owned(b=4, c=4)
    workers.running["b"].stop.set()
    await workers.owned(c=8)
    assert sum(workers.running["c"].stats.taken.values()) >= 8
    assert all(not job.is_abandoned for job in workers.jobs.made)


async def test_more_workers_than_shards_stand_by(workers: Workers):
    for name in "abcdefghij":
        workers.start(name)
    await wait_until(lambda: sorted(workers.jobs.owners().values()) == [1] * 8)


async def test_a_dead_worker_s_shards_are_taken_when_their_leases_run_out(workers: Workers):
    workers.start("a")
    workers.start("b")
    await workers.owned(a=4, b=4)
    workers.running["a"].kill()
    began = time.monotonic()
    await workers.owned(b=8)
    assert time.monotonic() - began < LIFE_S + 4


async def test_the_dead_do_not_count_for_ever_when_the_clock_is_set_back(workers: Workers):
    ahead_ms = round(time.time() * 1000) + 3_600_000
    await workers.store.execute("ZADD", keys.WORKERS, ahead_ms, f"{ROLE}:dead")
    workers.start("a")
    await workers.owned(a=8)


# Letting go


async def test_what_is_given_back_is_taken_at_once(workers: Workers):
    life_s = 30.0
    workers.start("a", life_s=life_s)
    await workers.owned(a=8)
    workers.start("b", life_s=life_s)
    await workers.owned(a=4, b=4)
    workers.running["a"].stop.set()
    await workers.owned(b=8)
    assert workers.running["a"].stats.released[ROLE] == 8


async def test_each_shard_is_given_back_as_soon_as_it_is_drained(workers: Workers):
    first = workers.start("a")
    await workers.owned(a=8)
    slow = workers.jobs.at_work[Slot(ROLE, 3)]
    slow.drained.clear()
    workers.start("b")
    first.stop.set()
    await workers.owned(a=1, b=7)
    assert not first.run.done()
    slow.drained.set()
    await workers.owned(b=8)
    await wait_until(first.run.done)


async def test_a_lease_is_kept_for_as_long_as_the_drain_takes(workers: Workers):
    life_s = 1.5  # a machine that is busy is late, and loses no lease by that
    first = workers.start("a", life_s=life_s, drain_s=60)
    await workers.owned(a=8)
    slow = workers.jobs.at_work[Slot(ROLE, 3)]
    slow.drained.clear()
    workers.start("b", life_s=life_s)
    first.stop.set()
    await workers.owned(a=1, b=7)
    until = time.monotonic() + 1.5 * life_s
    await wait_until(lambda: time.monotonic() > until)
    assert workers.jobs.owners() == {"a": 1, "b": 7}
    assert not slow.is_abandoned
    slow.drained.set()
    await workers.owned(b=8)


async def test_what_is_not_drained_in_time_is_dropped(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("workers.tenure.CUT_S", 0.05)
    worker = workers.start("a", drain_s=0.05)
    await workers.owned(a=8)
    hanging = workers.jobs.at_work[Slot(ROLE, 0)]
    hanging.drained.clear()
    worker.stop.set()
    await wait_until(worker.run.done)
    assert hanging.is_abandoned
    assert worker.run.exception() is None


# Losing


async def test_a_lease_that_is_another_s_ends_its_job_and_only_that(workers: Workers):
    worker = workers.start("a")
    await workers.owned(a=8)
    lost = workers.jobs.at_work[Slot(ROLE, 5)]
    await workers.store.execute("SET", keys.lease(5, ROLE), "another", "PX", 60_000)
    await wait_until(lambda: lost.is_abandoned)
    assert workers.jobs.owners() == {"a": 7}
    assert worker.stats.lost[ROLE] == 1


async def test_a_job_that_hears_of_the_loss_first_is_not_counted_twice(workers: Workers):
    worker = workers.start("a")
    await workers.owned(a=8)
    job = workers.jobs.at_work[Slot(ROLE, 5)]
    await workers.store.execute("SET", keys.lease(5, ROLE), "another", "PX", 400)
    job.die(LeaseLost("as the store said"))
    await wait_until(lambda: Slot(ROLE, 5) not in workers.jobs.at_work)
    await workers.owned(a=8)
    assert worker.stats.lost[ROLE] == 1
    assert worker.stats.taken[ROLE] == 9


async def test_a_shard_is_not_taken_again_before_what_is_left_of_it_has_ended(workers: Workers):
    worker = workers.start("a")
    await workers.owned(a=8)
    job = workers.jobs.at_work[Slot(ROLE, 5)]
    job.drained.clear()
    await workers.store.execute("SET", keys.lease(5, ROLE), "another", "PX", 300)
    await wait_until(lambda: job.is_abandoned)
    await wait_until(lambda: _is_free(workers, 5))
    turns = worker.stats.taken[ROLE]
    until = time.monotonic() + LIFE_S
    await wait_until(lambda: time.monotonic() > until)
    assert worker.stats.taken[ROLE] == turns
    assert await _is_free(workers, 5)
    job.drained.set()
    await workers.owned(a=8)


async def _is_free(workers: Workers, shard: int) -> bool:
    return await workers.store.execute("GET", keys.lease(shard, ROLE)) is None


async def test_a_store_that_is_away_for_longer_than_a_lease_costs_the_leases_in_time(
    workers: Workers,
):
    store = FaultyStore(workers.store)
    worker = workers.start("a", store)
    await workers.owned(a=8)
    store.is_away = True
    began = time.monotonic()
    await wait_until(lambda: not workers.jobs.at_work)
    assert LIFE_S / 2 < time.monotonic() - began < LIFE_S + 2
    assert all(job.is_abandoned for job in workers.jobs.made)
    assert worker.keeper.unready() is not None or worker.stats.failures
    store.is_away = False
    await workers.owned(a=8)
    assert not worker.run.done()


class OneSilent(FaultyStore):
    """One server of a cluster does not answer for the leases that it has."""

    silent: bytes | None = None

    async def call_many(
        self, calls: Any, *, return_exceptions: bool = False, **options: Any
    ) -> list[Any]:
        listed = list(calls)
        answers = await super().call_many(listed, return_exceptions=return_exceptions, **options)
        if not return_exceptions:
            return answers
        error = StoreUnavailable("as the test wants it")
        return [
            error if call.keys[0] == self.silent else answer
            for call, answer in zip(listed, answers, strict=True)
        ]


async def test_a_server_that_is_away_costs_only_the_leases_it_has(workers: Workers):
    store = OneSilent(workers.store)
    worker = workers.start("a", store)
    await workers.owned(a=8)
    silent = workers.jobs.at_work[Slot(ROLE, 2)]
    store.silent = keys.lease(2, ROLE)
    await wait_until(lambda: silent.is_abandoned)
    assert worker.stats.lost[ROLE] == 1
    assert sum(job.is_abandoned for job in workers.jobs.made) == 1


async def test_a_lease_taken_in_a_call_whose_answer_was_lost_is_not_waited_for(workers: Workers):
    store = FaultyStore(workers.store)
    fault = store.fail("acquire_lease", ran=True)
    began = time.monotonic()
    workers.start("a", store, life_s=30.0)
    await workers.owned(a=8)
    assert fault.hits == 1
    assert time.monotonic() - began < 5


# What can be seen


async def test_a_job_that_dies_takes_the_worker_with_it(workers: Workers):
    worker = workers.start("a")
    await workers.owned(a=8)
    workers.jobs.at_work[Slot(ROLE, 0)].die(RuntimeError("a mistake of ours"))
    await wait_until(worker.run.done)
    assert isinstance(worker.run.exception(), BaseExceptionGroup)


async def test_a_worker_is_ready_while_the_store_answers_and_its_loops_move(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
):
    store = FaultyStore(workers.store)
    store.is_away = True
    worker = workers.start("a", store)
    assert worker.keeper.unready() == "the store has not answered for the leases yet"
    store.is_away = False
    await wait_until(lambda: worker.keeper.unready() is None)
    await workers.owned(a=8)

    monkeypatch.setattr("workers.tenure.STUCK_S", 0.01)
    workers.jobs.at_work[Slot(ROLE, 6)].pulse.begin()
    await wait_until(lambda: worker.keeper.unready())
    assert worker.keeper.unready() == "sender of shard 6 has not moved for 0 s"
    workers.jobs.at_work[Slot(ROLE, 6)].pulse.rest()
    assert worker.keeper.unready() is None

    store.is_away = True
    await wait_until(lambda: worker.keeper.unready())
    assert "has not answered for the leases for" in str(worker.keeper.unready())
