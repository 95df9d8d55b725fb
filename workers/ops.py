"""Health, readiness and metrics of one worker process, over HTTP."""

import asyncio
import socket
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from app.metrics import CONTENT_TYPE, Metrics
from app.webserver import serve

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


async def serve_ops(
    listener: socket.socket,
    metrics: Metrics,
    unready: Callable[[], str | None],
    stop: asyncio.Event,
) -> None:
    """Serves until `stop`. The listener stays the caller's to close."""
    app = ops_app(metrics, unready)
    await serve(app, listener, stop, grace_s=_GRACE_S, connections_max=_CONNECTIONS_MAX)
