"""The API on a real HTTP server."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
from starlette.types import ASGIApp

from app.api.http import BoundedHttp, BoundedSocket, Connections, HttpLimits
from app.webserver import serve
from tests.api.conftest import Api

WAIT_S = 5.0


@dataclass(frozen=True)
class Served:
    api: Api
    port: int
    connections: Connections

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.api.secrets['admin']}"}

    def client(self) -> httpx.AsyncClient:
        # Without TLS there is nothing to verify; loading the authorities costs 40 ms.
        return httpx.AsyncClient(base_url=self.base, headers=self.bearer, verify=False)

    @asynccontextmanager
    async def raw(self, request: bytes = b"") -> AsyncIterator["Raw"]:
        """A connection on which anything may be written; `request` is, to begin with."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        try:
            yield Raw(reader, writer)
        finally:
            writer.transport.abort()  # what was not sent must not keep the test
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def head(self, line: str, **headers: str) -> bytes:
        named = {"host": "x", **self.bearer, **headers}
        lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items()]
        return f"{line} HTTP/1.1\r\n{''.join(lines)}\r\n".encode()


@dataclass(frozen=True)
class Raw:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers, body."""
        async with asyncio.timeout(WAIT_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.splitlines()
            headers = dict(line.lower().split(": ", 1) for line in lines if line)
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(first.split()[1]), headers, body

    async def problem(self) -> tuple[int, str]:
        """Status and kind of an answer that must be a problem and the last on its connection."""
        status, headers, body = await self.answer()
        assert headers["content-type"] == "application/problem+json"
        assert headers["connection"] == "close"
        problem: dict[str, Any] = json.loads(body)
        assert problem["status"] == status
        assert await self.ended()
        return status, problem["type"].rpartition(":")[2]

    async def ended(self) -> bool:
        """True once the server has closed the connection. Nothing more may have come."""
        try:
            async with asyncio.timeout(WAIT_S):
                return await self.reader.read() == b""
        except ConnectionResetError:
            return True


@asynccontextmanager
async def served(
    api: Api,
    limits: HttpLimits | None = None,
    app: ASGIApp | None = None,
    socket_path: str | None = None,
) -> AsyncIterator[Served]:
    """The API, or another application, as production serves it."""
    connections = Connections(
        limits or HttpLimits(), api.services.stats.refusals, socket_path=socket_path
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                serve(
                    app or api.app,
                    listener,
                    stop,
                    grace_s=1,
                    lifespan=app is None,
                    protocol=partial(BoundedHttp, shared=connections),
                    sockets=BoundedSocket if socket_path else None,
                )
            )
            try:
                yield Served(api, listener.getsockname()[1], connections)
            finally:
                api.services.waiters.release()
                stop.set()
