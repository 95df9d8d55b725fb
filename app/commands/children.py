"""A child process that is kept running: started again when it dies, stopped with a grace."""

import asyncio
import contextlib
import signal
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from app.commands.lines import LineSplitter
from app.commands.restart import Deaths, RestartPolicy, note_death, restart_delay_s
from app.errors import CommandFailed

_LAST_WORDS_MAX = 3
_READY_EVERY_S = 0.1
POLICY = RestartPolicy()
_PIPE_CLOSES_S = 2.0  # a grandchild may hold the pipe for longer than the child lives

Probe = Callable[[], Awaitable[bool]]


class Report(Protocol):
    """Tells whoever watches what becomes of the children: a sentence and its figures."""

    async def __call__(self, message: str, /, **fields: float) -> None: ...


class Screen(Protocol):
    """Where lines are shown. Returns when they are out, so that a full screen holds us up."""

    async def print(self, role: str, lines: list[str]) -> None: ...

    async def report(self, message: str, /, **fields: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Role:
    """What a child is. `env` is its whole environment; `ready` asks it whether it can work."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    ready: Probe


def how_it_ended(code: int) -> str:
    """An exit code in words; negative is the number of the signal that killed it."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


class Child:
    """One role, kept running from `run` to `stop`.

    Its standard input is a pipe that ends with this process, however it ends; children take that
    as the order to stop. It has a session of its own, so that a terminal's Ctrl+C reaches this
    process alone, which then stops its children in order.
    """

    def __init__(self, role: Role, screen: Screen, policy: RestartPolicy = POLICY) -> None:
        self.name = role.name
        self.ready = asyncio.Event()
        self._role = role
        self._screen = screen
        self._policy = policy
        self._stopping = asyncio.Event()
        self._over = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._ready_at: float | None = None
        self._last_words: deque[str] = deque(maxlen=_LAST_WORDS_MAX)

    @property
    def pid(self) -> int | None:
        """The process that lives now; None between two lives."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def run(self) -> None:
        """Returns after `stop`. Raises CommandFailed when the child dies before ever being ready,
        as often as the policy allows.
        """
        try:
            await self._keep_alive()
        finally:
            self._over.set()

    async def _keep_alive(self) -> None:
        deaths = Deaths()
        while not self._stopping.is_set():
            code = await self._live()
            if self._stopping.is_set():
                return
            deaths = note_death(self._policy, deaths, self._ready_for_s())
            delay_s = restart_delay_s(self._policy, deaths)
            if delay_s is None:
                raise CommandFailed(self._why(code, deaths))
            message = f"{self.name} ended ({how_it_ended(code)}) and is started again"
            await self._screen.report(message, restart_s=delay_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay_s)

    async def _live(self) -> int:
        """One life of the child: its exit code."""
        self._ready_at = None
        self.ready.clear()
        process = self._process = await asyncio.create_subprocess_exec(
            *self._role.argv,
            env=self._role.env,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return await self._attend(process)
        finally:
            self._process = None
            self.ready.clear()
            _kill(process)

    async def _attend(self, process: asyncio.subprocess.Process) -> int:
        assert process.stdout is not None
        async with asyncio.TaskGroup() as tasks:
            output = tasks.create_task(self._pass_on(process.stdout), name=f"{self.name} output")
            readiness = tasks.create_task(self._await_ready(), name=f"{self.name} readiness")
            if self._stopping.is_set():  # asked to stop while it was being started
                _terminate(process)
            code = await process.wait()
            readiness.cancel()
            await asyncio.wait({output}, timeout=_PIPE_CLOSES_S)
            output.cancel()
        return code

    async def _pass_on(self, output: asyncio.StreamReader) -> None:
        """Reads on only when a line has been printed: a full terminal holds the child up."""
        splitter = LineSplitter()
        while chunk := await output.read(64 * 1024):
            await self._print_lines(splitter.feed(chunk))
        await self._print_lines(splitter.end())

    async def _print_lines(self, lines: list[str]) -> None:
        if lines:
            self._last_words.extend(line for line in lines if line.strip())
            await self._screen.print(self.name, lines)

    async def _await_ready(self) -> None:
        while not await self._role.ready():  # noqa: ASYNC110 - another process cannot set an event
            await asyncio.sleep(_READY_EVERY_S)
        self._ready_at = time.monotonic()
        self.ready.set()

    def _ready_for_s(self) -> float | None:
        return None if self._ready_at is None else time.monotonic() - self._ready_at

    def _why(self, code: int, deaths: Deaths) -> str:
        words = "".join(f"\n    {line}" for line in self._last_words)
        return (
            f"{self.name} ended {deaths.in_a_row} times before it was ready "
            f"({how_it_ended(code)})" + (f"; its last words:{words}" if words else "")
        )

    async def stop(self, grace_s: float) -> None:
        """Asks it to end, and kills it when it has not after `grace_s`. `run` must be running."""
        self._stopping.set()
        if self._process is not None:
            _terminate(self._process)
        try:
            await asyncio.wait_for(self._over.wait(), grace_s)
        except TimeoutError:
            self.kill()
            await self._screen.report(
                f"{self.name} did not end in time and is killed", grace_s=grace_s
            )
            await self._over.wait()

    def kill(self) -> None:
        """Ends it at once; it is not started again."""
        self._stopping.set()
        if self._process is not None:
            _kill(self._process)


def _terminate(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()


def command(*args: str) -> tuple[str, ...]:
    """The argv that runs a command of this program with this very interpreter."""
    return (sys.executable, "-m", "app.cli", *args)
