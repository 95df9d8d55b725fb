"""HTTP of a process: Uvicorn on a socket that is bound already, stopped by an event."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from app.errors import CommandFailed

Protocol = Callable[..., asyncio.Protocol]


class _Server(uvicorn.Server):
    """Uvicorn's server, which leaves signals to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def serve(
    app: ASGIApp,
    listener: socket.socket,
    stop: asyncio.Event,
    *,
    grace_s: int,
    lifespan: bool = False,
    keep_alive_s: int = 5,
    connections_max: int | None = None,
    protocol: Protocol | None = None,
    sockets: Protocol | None = None,
    message_bytes_max: int = 4_096,
) -> None:
    """Serves until `stop`; then requests under way have `grace_s` to end.

    Cancelled, it ends at once, and leaves nothing open: a loop with an open server does not close.
    The listener stays the caller's to close. `protocol` makes connections, instead of uvicorn's
    own; `sockets` makes what such a connection becomes that is upgraded to a websocket: without
    it none is. `message_bytes_max` is the largest message taken there. Raises CommandFailed when
    `app` does not start.
    """
    config = uvicorn.Config(
        app,
        loop="none",
        http=cast(type[asyncio.Protocol], protocol) if protocol else "httptools",
        ws=cast(type[asyncio.Protocol], sockets) if sockets else "none",
        ws_max_size=message_bytes_max,
        ws_per_message_deflate=False,
        lifespan="on" if lifespan else "off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=connections_max,
        timeout_keep_alive=keep_alive_s,
        timeout_graceful_shutdown=grace_s,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve([listener]), name="http")
    stopping = asyncio.create_task(stop.wait(), name="http-stop")
    try:
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        server.force_exit = True
        raise
    finally:
        server.should_exit = True
        stopping.cancel()
        await serving
    if not server.started:
        raise CommandFailed("the server could not start; the lines above say why")
