"""Programs that a peer needs: where the system keeps them, and when they are there."""

import asyncio
import os
import shutil
import socket

from app.errors import CommandFailed
from scripts.bench.peer_process import PeerProcess

START_MAX_S = 10.0
LOOK_EVERY_S = 0.02

# Not in everybody's PATH; Debian has nginx in the first.
ALSO = "/usr/sbin", "/usr/local/sbin"


def program(name: str) -> str | None:
    """Its path; None when it is not installed."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *ALSO)))


def free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return tried.getsockname()[1]


async def accepting(
    process: PeerProcess, port: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to a process that has just been started. Raises CommandFailed."""
    try:
        async with asyncio.timeout(START_MAX_S):
            while True:
                try:
                    return await asyncio.open_connection("127.0.0.1", port)
                except ConnectionRefusedError:
                    await asyncio.sleep(LOOK_EVERY_S)
    except TimeoutError:
        raise CommandFailed(process.last_words()) from None
