"""Health, readiness and metrics of one worker process, over HTTP."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from app.metrics import CONTENT_TYPE, Metrics

_GRACE_S = 1
_CONNECTIONS_MAX = 64


def ops_app(metrics: Metrics, unready: Callable[[], str | None]) -> Starlette:
    """`unready` gives the reason why this process is not ready, if there is one."""

    async def health(_: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def readiness(_: Request) -> Response:
        reason = unready()
        return PlainTextResponse("ready\n") if reason is None else _not_ready(reason)

    async def scrape(_: Request) -> Response:
        return Response(metrics.render(), headers={"content-type": CONTENT_TYPE})

    return Starlette(
        routes=[
            Route("/healthz", health),
            Route("/readyz", readiness),
            Route("/metrics", scrape),
        ]
    )


def _not_ready(reason: str) -> Response:
    return JSONResponse(
        {"type": "about:blank", "title": "Not ready", "status": 503, "detail": reason},
        503,
        {"retry-after": "5"},
        media_type="application/problem+json",
    )


class _Server(uvicorn.Server):
    """Uvicorn's server, which leaves signals to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def serve_ops(
    listener: socket.socket,
    metrics: Metrics,
    unready: Callable[[], str | None],
    stop: asyncio.Event,
) -> None:
    """Serves until `stop`. The listener stays the caller's to close."""
    config = uvicorn.Config(
        ops_app(metrics, unready),
        loop="none",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS_MAX,
        timeout_graceful_shutdown=_GRACE_S,
    )
    server = _Server(config)
    # In no task group: a server that is cancelled leaves its socket in the hands of the loop.
    serving = asyncio.create_task(server.serve([listener]), name="ops-server")
    stopping = asyncio.create_task(stop.wait(), name="ops-stop")
    try:
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        server.should_exit = True
        stopping.cancel()
        await asyncio.wait([serving])
    serving.result()
