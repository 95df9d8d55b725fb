"""A push server that is a program of ours, told what to do: the benchmark's side of `serving`."""

import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.bench.crowd import ROOT
from scripts.bench.peer_process import PeerProcess
from scripts.bench.push_server import Talk


def python(module: str) -> tuple[str, ...]:
    """The command that runs a module of ours, wherever it is started."""
    return (sys.executable, "-P", "-m", module)


@dataclass(frozen=True, slots=True)
class ToldServer:
    """A PushServer."""

    name: str
    port: int
    process: PeerProcess
    talk: Callable[[int], Talk]
    answers: Mapping[bytes, bytes]

    @property
    def pids(self) -> Sequence[int]:
        return (self.process.pid,)

    async def settle(self) -> bool:
        return bool((await self._tell("settle"))["pings"])

    async def prepare(self, payload: str, times: int) -> None:
        await self._tell("prepare", payload=payload, times=times)

    async def publish(self) -> None:
        await self._tell("publish")

    async def _tell(self, do: str, **order: Any) -> Any:
        return await self.process.ask(do=do, **order)


@asynccontextmanager
async def told_server(
    name: str,
    command: Sequence[str],
    directory: Path,
    talk: Callable[[int], Talk],
    answers: Mapping[bytes, bytes] | None = None,
) -> AsyncGenerator[ToldServer]:
    """Raises CommandFailed when it does not start."""
    log = name.replace(" ", "-")
    async with PeerProcess(log, command, directory, PYTHONPATH=str(ROOT)) as process:
        port = (await process.ask(do="listen"))["port"]
        yield ToldServer(name, port, process, talk, answers or {})
