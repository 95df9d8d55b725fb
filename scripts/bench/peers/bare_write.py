"""The floor: for each socket one write, the bare system call, of all that is published at once.

No server can do with less, unless it leaves the sockets to the kernel altogether.
"""

import asyncio
import os
import socket
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

import uvloop

from app.gateway.encoding import TEXT, header
from scripts.bench.push_server import Kind
from scripts.bench.serving import serve
from scripts.bench.told_server import ToldServer, python, told_server

NAME: Final = "bare write"
HELLO, READY = b"hello", b"ready"


def start(directory: Path) -> AbstractAsyncContextManager[ToldServer]:
    return told_server(NAME, python(__name__), directory, lambda _: ((HELLO, READY),))


BARE_WRITE: Final = Kind(NAME, start, has_sockets=False)


class Server:
    """Its sockets block, so that every write is whole."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1_024)
        self._listener.setblocking(False)
        self._sockets: list[socket.socket] = []
        self._data = b""

    async def listen(self) -> int:
        asyncio.get_running_loop().add_reader(self._listener, self._accept)
        return self._listener.getsockname()[1]

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        client.setblocking(True)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.send(READY)
        self._sockets.append(client)

    async def settle(self) -> bool:
        return False

    def prepare(self, payload: str, times: int) -> None:
        message = payload.encode()
        self._data = (header(TEXT, len(message)) + message) * times

    async def publish(self) -> None:
        write, data = os.write, self._data
        for fd in [client.fileno() for client in self._sockets]:
            write(fd, data)


if __name__ == "__main__":
    uvloop.run(serve(Server()))
