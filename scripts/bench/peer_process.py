"""A process of a peer: started beside the service, told what to do, ended."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from app.errors import CommandFailed

ROOT = Path(__file__).parents[2]
PEERS = Path(__file__).parent / "peers"
VENV = ROOT / ".venv-peers"
ANSWER_MAX_S = 60.0
STOP_MAX_S = 10.0
_LAST_WORDS = 5


def why_missing(command: str) -> str | None:
    """What to do when a command of a peer is not installed; None when it is."""
    if os.access(VENV / "bin" / command, os.X_OK):
        return None
    return "make bench-peers"


class PeerProcess:
    """`async with PeerProcess(name, command, directory)`. What it says is in a file; a line of JSON
    it is sent is answered with one."""

    def __init__(
        self, name: str, command: Sequence[str], directory: Path, **environment: str
    ) -> None:
        self.name = name
        self._command = command
        self._log = directory / f"{name}.log"
        self._environment: Mapping[str, str] = {**os.environ, **environment}

    async def __aenter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                cwd=PEERS,
                env=self._environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl+C is for the script alone
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_MAX_S):
                await self._process.wait()
        except TimeoutError:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):  # it, and whatever it has started
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, **order: Any) -> Any:
        """The answer. Raises CommandFailed when there is none."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        answer = b""
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(ANSWER_MAX_S):
                self._process.stdin.write(json.dumps(order).encode() + b"\n")
                await self._process.stdin.drain()
                answer = await self._process.stdout.readline()
        if not answer:
            raise CommandFailed(self.last_words())
        return json.loads(answer)

    def last_words(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-_LAST_WORDS:]
        return "\n    ".join((f"{self.name} does not answer; {self._log} ends with", *lines))
