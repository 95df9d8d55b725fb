"""The service as a system under test: posts go in at its api, and are played out to their end."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from app.errors import CommandFailed
from scripts.bench.plays import LOOK_EVERY_S, SETTLE_MAX_S, Load, Spent, spent
from scripts.bench.process_tree import trees_cpu_s
from scripts.load.arrivals import Kind
from scripts.load.caller import Caller
from scripts.load.load_process import LoadProcess
from scripts.load.orders import now_us
from scripts.load.service import OwnService
from scripts.load.setting_up import befriend
from scripts.load.workload import Workload

NAME = "moments"
CALLS_AT_ONCE = 32
QUEUES = ("posts", "deliveries", "redeliveries", "retries")
LEAD_US = 50_000  # from an order to its first post
# Gateways write cursors 50 ms after the first change.
_RECORDED_S = 0.2

Count = Callable[[], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class RunningService:
    """A service of our own, and those who call it."""

    own: OwnService
    caller: Caller
    poster: LoadProcess


@dataclass(frozen=True, slots=True)
class ServicePipeline:
    """Every author of `workload` has the same number of friends. `arrived` counts deliveries so
    far. `queues` are those of /v1/stats that are empty when everything is recorded."""

    service: RunningService
    workload: Workload
    arrived: Count
    queues: tuple[str, ...] = QUEUES
    name: str = NAME

    async def play(self, load: Load) -> Spent:
        deliveries = load.posts * len(self.workload.authors[0].friends)
        due = await self.arrived() + deliveries
        before_s = trees_cpu_s(self.service.own.pids())
        await self._post(load)
        await until_all(self.arrived, due)
        await until_all(self._recorded, 1)
        await asyncio.sleep(_RECORDED_S)
        after_s = trees_cpu_s(self.service.own.pids())
        if self.service.own.incidents:
            raise CommandFailed(f"the service did not hold: {self.service.own.incidents}")
        return spent(before_s, after_s, deliveries)

    async def _post(self, load: Load) -> None:
        authors = [author.name for author in self.workload.authors]
        due_us, turns = load.arrivals_us(), load.authors(len(authors))
        answer = await self.service.poster.ask(
            "post",
            phase=0,
            begin_us=now_us() + LEAD_US,
            authors=authors,
            arrivals=[(at, author, Kind.POST) for at, author in zip(due_us, turns, strict=True)],
        )
        if answer["refused"]:
            raise CommandFailed(f"posts were refused: {answer['refused']}")

    async def _recorded(self) -> int:
        """1 when nothing waits any more."""
        status, body = await self.service.caller.call("GET", "/v1/stats")
        if status != 200:
            return 0
        waiting = json.loads(body)["queues"]
        return 0 if any(waiting[name] for name in self.queues) else 1


async def open_service(
    open_: AsyncExitStack,
    directory: Path,
    workload: Workload,
    *,
    gateways: int = 1,
    roles: tuple[str, ...] = (),
) -> RunningService:
    """Ready, with the friendships of the workload; gone when `open_` is closed. `roles`: of its
    worker, all unless some are named."""
    service = OwnService(directory, {}, gateways)
    await open_.enter_async_context(service)
    await service.start("worker", *roles)
    caller = Caller(service.api, service.key, CALLS_AT_ONCE)
    await open_.enter_async_context(caller)
    poster = LoadProcess("poster", directory, lambda _: None)
    await open_.enter_async_context(poster)
    await poster.ask("open", url=service.api, key=service.key)
    await befriend(caller, workload, lambda _: None)
    return RunningService(service, caller, poster)


async def until_all(count: Count, due: int) -> None:
    """Until so many are counted. Raises CommandFailed when they are not, or too many."""
    until_s = time.monotonic() + SETTLE_MAX_S
    while (counted := await count()) < due:
        if time.monotonic() > until_s:
            raise CommandFailed(f"{due - counted:,} deliveries have not come to their end")
        await asyncio.sleep(LOOK_EVERY_S)
    if counted > due:
        raise CommandFailed(f"{counted - due:,} deliveries more than there should be")
