"""Everybody connected to one push server: raw sockets in a process of their own, counted dry."""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from app.errors import CommandFailed
from scripts.bench.peer_process import PeerProcess
from scripts.bench.push_server import PushServer, Talk

ROOT = Path(__file__).parents[2]


def upgrade(path: str) -> bytes:
    """The request of a websocket client (RFC 6455, 4.1), with the key of its example."""
    return (
        f"GET {path} HTTP/1.1\r\n"
        "Host: 127.0.0.1\r\n"
        "Upgrade: websocket\r\n"
        "Connection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


class Crowd:
    """`deliveries` and `bytes_read`: all that was received so far."""

    def __init__(self, server: PushServer, process: PeerProcess, sockets: int) -> None:
        self.sockets = sockets
        self.deliveries = 0
        self.bytes_read = 0
        self._server = server
        self._process = process

    async def receive(self, messages: int) -> None:
        """Returns when everybody has received so many more. Raises CommandFailed when something
        is missing, or has come twice."""
        due = self.deliveries + messages * self.sockets
        told = await self._process.ask(do="count", what="deliveries", until=due)
        self.deliveries, self.bytes_read = told["deliveries"], told["bytes"]
        if self.deliveries != due:
            raise CommandFailed(
                f"{self._server.name}: {self.deliveries:,} deliveries have come instead of {due:,}"
            )

    async def answer_ping(self) -> None:
        """Returns when everybody has answered one. Raises CommandFailed when somebody got none."""
        told = await self._process.ask(do="count", what="answers", until=self.sockets)
        if told["answers"] < self.sockets:
            raise CommandFailed(f"{self._server.name}: only {told['answers']:,} pings have come")


@asynccontextmanager
async def crowd_of(server: PushServer, sockets: int, directory: Path) -> AsyncGenerator[Crowd]:
    """Raises CommandFailed when not everybody gets in."""
    command = (sys.executable, "-P", "-m", "scripts.bench.crowd_process")
    name = f"crowd-{server.port}-{sockets}"
    async with PeerProcess(name, command, directory, PYTHONPATH=str(ROOT)) as process:
        await process.ask(
            do="open",
            port=server.port,
            talks=[_as_text(server.talk(number)) for number in range(sockets)],
            answers=_as_text(tuple(server.answers.items())),
        )
        yield Crowd(server, process, sockets)


def _as_text(talk: Talk) -> list[tuple[str, str]]:
    return [(said.decode("latin-1"), wanted.decode("latin-1")) for said, wanted in talk]
