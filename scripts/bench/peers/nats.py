"""NATS, the server: subscribers of one subject by websocket, the publisher by TCP."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from scripts.bench.crowd import upgrade
from scripts.bench.peer_process import PeerProcess
from scripts.bench.peers.programs import accepting, free_port, program
from scripts.bench.push_server import Kind, Talk
from scripts.load.frames import BINARY, client_frame

NAME: Final = "NATS"
SUBJECT: Final = "posts"

CONNECT: Final = b'CONNECT {"verbose":false}\r\n'
PING, PONG = b"PING\r\n", b"PONG\r\n"
SUBSCRIBE: Final = client_frame(BINARY, CONNECT + f"SUB {SUBJECT} 1\r\n".encode() + PING)
# It pings everybody once, two seconds after they have come, whatever the interval.
ANSWERS: Final = {bytes((0x82, len(PING))) + PING: client_frame(BINARY, PONG)}

_CONFIGURATION: Final = """\
listen: "127.0.0.1:PORT"
websocket {
    listen: "127.0.0.1:SOCKETS"
    no_tls: true
    compression: false
}
max_connections: 16000
ping_interval: "1h"
write_deadline: "60s"
"""


def why_missing() -> str | None:
    return None if program("nats-server") else "apt-get install nats-server"


@dataclass(slots=True)
class Nats:
    """A PushServer."""

    port: int
    pids: Sequence[int]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    name: str = NAME
    answers: Mapping[bytes, bytes] = field(default_factory=lambda: ANSWERS)
    _prepared: bytes = b""

    def talk(self, number: int) -> Talk:
        return ((upgrade("/"), b"INFO"), (SUBSCRIBE, PONG))

    async def settle(self) -> bool:
        return False

    async def prepare(self, payload: str, times: int) -> None:
        message = f"PUB {SUBJECT} {len(payload)}\r\n{payload}\r\n"
        self._prepared = message.encode() * times + PING

    async def publish(self) -> None:
        self.writer.write(self._prepared)
        await self.reader.readuntil(PONG)


@asynccontextmanager
async def start(directory: Path) -> AsyncGenerator[Nats]:
    """Raises CommandFailed when it does not start."""
    port, sockets = free_port(), free_port()
    configuration = directory / "nats.conf"
    configuration.write_text(
        _CONFIGURATION.replace("PORT", str(port)).replace("SOCKETS", str(sockets))
    )
    command = (program("nats-server") or "nats-server", "-c", str(configuration))
    async with PeerProcess(NAME, command, directory) as process:
        (await accepting(process, sockets))[1].close()
        reader, writer = await accepting(process, port)
        try:
            writer.write(CONNECT)
            yield Nats(sockets, (process.pid,), reader, writer)
        finally:
            writer.close()


NATS: Final = Kind(NAME, start, why_missing)
