"""All processes of one `moments up`: started together, stopped stage by stage."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from app.commands.children import Report
from app.commands.progress import SHOWN_AFTER_S
from app.errors import CommandFailed

_REMIND_EVERY_S = 30.0
_SHOW_EVERY_S = 0.2

# How many are ready, of how many, and the names of the others.
Waiting = Callable[[int, int, Sequence[str]], Awaitable[None]]


async def _show_nothing(ready: int, total: int, others: Sequence[str]) -> None:
    pass


class Member(Protocol):
    """Something that is kept running: a `Child`, or the bundled store."""

    name: str
    ready: asyncio.Event

    async def run(self) -> None: ...

    async def stop(self, grace_s: float) -> None: ...

    def kill(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Stage:
    """Members that stop together, before those of the next stage; `grace_s` is their time."""

    members: Sequence[Member]
    grace_s: float


class Crew:
    """The members, and what is told of them as a whole."""

    def __init__(
        self, stages: Sequence[Stage], report: Report, on_waiting: Waiting = _show_nothing
    ) -> None:
        """`on_waiting` is told again and again how far the start is."""
        self._stages = stages
        self._report = report
        self._on_waiting = on_waiting
        self._members = list(chain.from_iterable(stage.members for stage in stages))
        self._failed = asyncio.Event()
        self._failure: CommandFailed | None = None

    async def run(
        self, asked: asyncio.Event, forced: asyncio.Event, on_ready: Callable[[], Awaitable[None]]
    ) -> None:
        """Keeps all running until `asked`, then stops them in order; `forced` kills them.

        `on_ready` is awaited once, when all have been ready. Raises CommandFailed, after the same
        ordered stop, when one cannot be brought to work.
        """
        async with asyncio.TaskGroup() as tasks:
            for member in self._members:
                tasks.create_task(self._keep(member), name=member.name)
            announcement = tasks.create_task(self._announce(on_ready), name="announcement")
            await _first(asked, self._failed)
            announcement.cancel()
            await self._on_waiting(len(self._members), len(self._members), [])
            enforcement = tasks.create_task(self._kill_when(forced), name="enforcement")
            for stage in self._stages:
                await asyncio.gather(*(member.stop(stage.grace_s) for member in stage.members))
            enforcement.cancel()
        if self._failure is not None:
            raise self._failure

    async def _keep(self, member: Member) -> None:
        try:
            await member.run()
        except CommandFailed as failure:
            self._failure = self._failure or failure
            self._failed.set()

    async def _announce(self, on_ready: Callable[[], Awaitable[None]]) -> None:
        everybody = asyncio.gather(*(member.ready.wait() for member in self._members))
        began = reminded = time.monotonic()
        while not (await asyncio.wait({everybody}, timeout=_SHOW_EVERY_S))[0]:
            others = [member.name for member in self._members if not member.ready.is_set()]
            now = time.monotonic()
            if now - began >= SHOWN_AFTER_S:
                total = len(self._members)
                await self._on_waiting(total - len(others), total, others)
            if now - reminded >= _REMIND_EVERY_S:
                reminded = now
                await self._report(f"still waiting for {', '.join(others)} to be ready")
        await self._on_waiting(len(self._members), len(self._members), [])
        await on_ready()

    async def _kill_when(self, forced: asyncio.Event) -> None:
        await forced.wait()
        for member in self._members:
            member.kill()


async def _first(*events: asyncio.Event) -> None:
    """Returns when one of the events is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
