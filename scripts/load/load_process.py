"""A load process as the script sees it: started, told what to do, ended."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from app.errors import CommandFailed
from scripts.load.orders import LINE_BYTES_MAX

STOP_MAX_S = 10.0
_LAST_WORDS = 5
_ROOT = Path(__file__).parents[2]


class LoadProcess:
    """`async with LoadProcess("poster", directory, take)`: runs `scripts.load.poster`.

    `take` is given the samples as they come. What the process says otherwise is in a file.
    """

    def __init__(self, name: str, directory: Path, take: Callable[[list[Any]], None]) -> None:
        self.name = name
        self._log = directory / f"{name}.log"
        self._take = take
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._number = 0

    async def __aenter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                f"scripts.load.{self.name}",
                cwd=_ROOT,
                env={**os.environ, "PYTHONPATH": str(_ROOT)},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=LINE_BYTES_MAX,
                start_new_session=True,  # Ctrl+C is for the script alone
            )
        self._reading = asyncio.create_task(self._read(), name=f"read {self.name}")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_MAX_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        finally:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, do: str, **order: Any) -> Any:
        """The answer. Raises CommandFailed when it fails, or when the process has ended."""
        assert self._process.stdin is not None
        if self._reading.done():
            raise CommandFailed(self._ended())
        self._number += 1
        number = self._number
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        line = json.dumps({"number": number, "do": do, **order}).encode() + b"\n"
        try:
            with contextlib.suppress(ConnectionError):  # reading tells that, with its last words
                self._process.stdin.write(line)
                await self._process.stdin.drain()
            return await answer
        finally:
            del self._waiting[number]

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            told = json.loads(line)
            if samples := told.get("samples"):
                self._take(samples)
            waiting = self._waiting.get(told.get("number"))
            if waiting is None or waiting.done():
                continue
            if "failed" in told:
                waiting.set_exception(CommandFailed(f"{self.name}: {told['failed']}"))
            else:
                waiting.set_result(told["answer"])
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(CommandFailed(self._ended()))

    def _ended(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-_LAST_WORDS:]
        return "\n    ".join((f"{self.name} ended; its last words are in {self._log}", *lines))
