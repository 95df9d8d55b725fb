"""One run from its start to its findings: all is started, the scenario played, all is ended."""

import asyncio
import os
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.errors import CommandFailed
from scripts.load.caller import Caller
from scripts.load.certificates import make_certificates
from scripts.load.display import Display
from scripts.load.groups import Group
from scripts.load.load_process import LoadProcess
from scripts.load.options import Options
from scripts.load.processes import machine
from scripts.load.receivers import addresses
from scripts.load.results import Finding
from scripts.load.scenarios.scenario import Scenario
from scripts.load.service import GivenService, OwnService, Service
from scripts.load.setting_up import befriend, register, unregister
from scripts.load.stage import Stage
from scripts.load.watch import Watch
from scripts.load.workload import FULL, LIGHT, Workload, draw_workload

RUN_MAX_S = 3 * 3_600.0
CALLS_AT_ONCE = 32
SECURE_HOSTS = 50  # the addresses in a certificate; each listens on many ports

# Each group's hosts are addresses of their own: 127.16.0.1 and so on.
_NETS = {group: 16 + number for number, group in enumerate(Group)}
_SLOW_S = tuple(float(seconds) for seconds in range(1, 11))


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that the report is made from. `load_average` is the machine's before and after."""

    scenario: Scenario
    options: Options
    stage: Stage
    findings: Sequence[Finding]
    started_at: str
    took_s: float
    machine: Mapping[str, object]
    load_average: tuple[Sequence[float], Sequence[float]]


async def run(scenario: Scenario, options: Options, directory: Path, display: Display) -> Outcome:
    """Raises CommandFailed when it could not be played to its end. `directory` is for store and
    logs."""
    began, load_before = time.monotonic(), os.getloadavg()
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    if options.url and scenario.is_own:
        raise CommandFailed(f"{scenario.name} needs a service of its own: no --url")
    try:
        async with asyncio.timeout(RUN_MAX_S), AsyncExitStack() as open_:
            stage, findings = await _Run(scenario, options, directory, display).play(open_)
    except TimeoutError:
        raise CommandFailed(f"not over within {RUN_MAX_S:.0f} s") from None
    return Outcome(
        scenario=scenario,
        options=options,
        stage=stage,
        findings=findings,
        started_at=started_at,
        took_s=time.monotonic() - began,
        machine=machine(),
        load_average=(load_before, os.getloadavg()),
    )


class _Run:
    def __init__(
        self, scenario: Scenario, options: Options, directory: Path, display: Display
    ) -> None:
        self._scenario = scenario
        self._options = options
        self._directory = directory
        self._display = display
        self._certificate: Path | None = None
        self._settings = dict(scenario.settings)

    async def play(self, open_: AsyncExitStack) -> tuple[Stage, Sequence[Finding]]:
        workload = self._draw()
        if self._scenario.is_secure:
            hosts = list(addresses(_NETS[Group.HEALTHY], SECURE_HOSTS))
            authority, self._certificate = make_certificates(self._directory, hosts)
            self._settings["ca_file"] = str(authority)
        service = await self._start(open_)
        caller = Caller(service.api, service.key, CALLS_AT_ONCE)
        await open_.enter_async_context(caller)
        stage = Stage(self._options, workload, service, caller, self._display)
        await self._open_load_processes(stage, open_)
        await self._bring_in(stage, open_)
        watching = asyncio.create_task(stage.watch.run(), name="watch")
        playing = asyncio.create_task(self._perform(stage), name=self._scenario.name)
        try:
            # A watch that ends has failed: nobody would know what happened.
            await asyncio.wait({watching, playing}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()
            return stage, await playing
        finally:
            for task in (watching, playing):
                task.cancel()
            await asyncio.gather(watching, playing, return_exceptions=True)

    async def _perform(self, stage: Stage) -> Sequence[Finding]:
        if not self._scenario.opens_sockets:
            await stage.open_sockets()
        return await self._scenario.play(stage)

    def _draw(self) -> Workload:
        options = self._options
        return draw_workload(
            random.Random(f"workload {options.seed}"),
            people=options.people,
            circles=LIGHT if options.light else FULL,
            presence=self._scenario.presence,
            # A service that runs already may know the names of an earlier run.
            prefix=f"load{int(time.time()):x}-" if options.url else "load-",
        )

    async def _start(self, open_: AsyncExitStack) -> Service:
        options = self._options
        if options.url:
            assert options.key is not None
            return GivenService(options.url, options.gateway_urls, options.key, options.pids)
        with self._display.step("start the service"):
            settings = {**self._settings, **options.settings}
            own = OwnService(self._directory, settings, options.gateways)
            await open_.enter_async_context(own)
            if not self._scenario.starts_workers:
                for number in range(1, options.workers + 1):
                    await own.start(f"worker-{number}")
        return own

    async def _open_load_processes(self, stage: Stage, open_: AsyncExitStack) -> None:
        started: dict[str, Any] = {}
        for name in ("poster", "receivers", "sockets"):
            process = LoadProcess(name, self._directory, stage.take)
            started[name] = await open_.enter_async_context(process)
        stage.poster, stage.receivers = started["poster"], started["receivers"]
        stage.sockets = started["sockets"]
        stage.watch = Watch(stage.service, stage.caller, **started)
        await stage.poster.ask("open", url=stage.service.api, key=stage.service.key)

    async def _bring_in(self, stage: Stage, open_: AsyncExitStack) -> None:
        workload, display = stage.workload, self._display
        edges = sum(len(author.friends) for author in workload.authors)
        with display.step("make friends", edges) as advance:
            await befriend(stage.caller, workload, advance)
        with display.step("start receivers"):
            urls = await self._listen(stage)
        members = workload.members(*urls)
        with display.step("register endpoints", len(members)) as advance:
            endpoints = await register(stage.caller, workload, urls, advance)
        if self._options.url:
            open_.push_async_callback(self._take_out, stage.caller, endpoints)

    async def _take_out(self, caller: Caller, endpoints: Sequence[str]) -> None:
        """Nobody answers there any more. Friendships stay: they cost nothing."""
        with self._display.step("remove endpoints", len(endpoints)) as advance:
            await unregister(caller, endpoints, advance)

    async def _listen(self, stage: Stage) -> dict[Group, list[str]]:
        """Where each group receives."""
        urls: dict[Group, list[str]] = {}
        for group in Group:
            count = len(stage.workload.members(group))
            if group is Group.SOCKET or not count:
                continue
            answer = await stage.receivers.ask("open", **self._listeners(group, count))
            urls[group] = answer["urls"]
        for group, delays_s, fail in (
            (Group.SLOW, _SLOW_S, 0.0),
            (Group.FAILING, [0.0], 1.0),
            (Group.DEAD, [None], 0.0),
        ):
            if group in urls:
                await stage.manner(group, delays_s, fail)
        return urls

    def _listeners(self, group: Group, count: int) -> dict[str, Any]:
        hosts, ports = min(count, self._options.hosts), 1
        if group is Group.RELAY:
            hosts = 1
        elif self._scenario.is_secure:
            hosts, ports = SECURE_HOSTS, max(1, count // SECURE_HOSTS)
        elif self._options.receive_on:
            hosts, ports = 1, hosts
        return {
            "group": group,
            "net": _NETS[group],
            "host": self._options.receive_on,
            "hosts": hosts,
            "ports": ports,
            "certificate": str(self._certificate) if self._certificate else None,
        }
