"""broadcast() of the websockets package, in a server of its own on uvloop.

Compression and keepalive are off: neither is done by the others.
"""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast
from websockets.asyncio.server import serve as serve_websockets

from scripts.bench.crowd import upgrade
from scripts.bench.push_server import Kind
from scripts.bench.serving import serve
from scripts.bench.told_server import ToldServer, python, told_server

NAME: Final = "websockets"
READY: Final = "ready"


def start(directory: Path) -> AbstractAsyncContextManager[ToldServer]:
    talk = ((upgrade("/"), READY.encode()),)
    return told_server(NAME, python(__name__), directory, lambda _: talk)


BROADCAST: Final = Kind(f"{NAME} broadcast()", start)


class Server:
    def __init__(self) -> None:
        self._connections: set[ServerConnection] = set()
        self._messages: list[str] = []

    async def listen(self) -> int:
        server = await serve_websockets(
            self._keep, "127.0.0.1", 0, compression=None, ping_interval=None, backlog=1_024
        )
        return next(iter(server.sockets)).getsockname()[1]

    async def _keep(self, connection: ServerConnection) -> None:
        self._connections.add(connection)
        await connection.send(READY)
        await connection.wait_closed()
        self._connections.discard(connection)

    async def settle(self) -> bool:
        return False

    def prepare(self, payload: str, times: int) -> None:
        self._messages = [payload] * times

    async def publish(self) -> None:
        for message in self._messages:
            broadcast(self._connections, message)


if __name__ == "__main__":
    uvloop.run(serve(Server()))
