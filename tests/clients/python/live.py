"""The service on real ports, in a thread with a loop of its own: for clients, whatever loop or
process they are in."""

import asyncio
import socket
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread

import uvloop

from app.webserver import serve as serve_http
from tests.flows.service import ADMIN_KEY, serve
from tests.opened_store import opened


@dataclass(frozen=True, slots=True)
class Live:
    url: str
    socket_url: str
    key: str = ADMIN_KEY


@contextmanager
def live(store_url: str, **changes: object) -> Iterator[Live]:
    """Starts it on an empty store; `changes` are settings."""
    ready: Future[tuple[Live, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    ended: Future[None] = Future()

    def run() -> None:
        try:
            uvloop.run(_serve(store_url, changes, ready))
        except BaseException as error:
            failed = ended if ready.done() else ready
            failed.set_exception(error)
        else:
            ended.set_result(None)

    thread = Thread(target=run, name="live")
    thread.start()
    try:
        found, loop, stop = ready.result(20)
        try:
            yield found
        finally:
            loop.call_soon_threadsafe(stop.set)
            ended.result(30)
    finally:
        thread.join(30)


async def _serve(
    store_url: str,
    changes: dict[str, object],
    ready: Future[tuple[Live, asyncio.AbstractEventLoop, asyncio.Event]],
) -> None:
    stop = asyncio.Event()
    async with opened(store_url) as store:
        await store.broadcast("FLUSHALL")
        async with serve(store, **changes) as service, asyncio.TaskGroup() as tasks:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                http = serve_http(service.app, listener, stop, grace_s=1)
                serving = tasks.create_task(http)
                port = listener.getsockname()[1]
                found = Live(f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{service.gateway_port}")
                ready.set_result((found, asyncio.get_running_loop(), stop))
                await serving
