"""A gateway that does what a test says: each connection meets the next part of a script."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

POST = {
    "id": "01kg9ys7g0d2pf2d03",
    "author": "ann",
    "type": "post",
    "version": 1,
    "created_at": "2026-01-31T12:00:00.000Z",
    "data": {"text": "hello"},
}

Part = Callable[["Peer"], Awaitable[None]] | int


@dataclass
class Peer:
    """One connection: what it asked for, and what it said."""

    socket: ServerConnection
    query: dict[str, str]
    token: str
    said: list[dict[str, Any]] = field(default_factory=list)

    async def say(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            await self.socket.send(json.dumps(message))

    async def hello(self, epoch: str = "e", *, head: int = 9, cursor: int = 0) -> None:
        rest = {"user": "bob", "epoch": epoch, "head": head, "cursor": cursor, "ping_s": 25}
        await self.say({"type": "hello", **rest})

    async def events(self, *offsets: int) -> None:
        for offset in offsets:
            await self.say({"type": "post.created", "offset": offset, "post": POST})

    async def close(self, code: int, reason: str = "") -> None:
        await self.socket.close(code, reason)

    async def listen(self) -> None:
        """Keeps what the client says, until it is gone."""
        async for raw in self.socket:
            self.said.append(json.loads(raw))


@dataclass
class Gateway:
    """`requests` has the query and token of every handshake, `peers` those that were let in."""

    url: str = ""
    requests: list[tuple[dict[str, str], str]] = field(default_factory=list)
    peers: list[Peer] = field(default_factory=list)


@asynccontextmanager
async def gateway(*script: Part) -> AsyncIterator[Gateway]:
    """A part that is a number refuses the handshake with that status; when there are no more, a
    connection is greeted and then nothing comes."""
    found, parts = Gateway(), iter(script)
    waiting: list[Callable[[Peer], Awaitable[None]]] = []

    def judge(socket: ServerConnection, request: Request) -> Response | None:
        query = {name: one[0] for name, one in parse_qs(urlsplit(request.path).query).items()}
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        found.requests.append((query, token))
        part = next(parts, greet)
        if isinstance(part, int):
            detail = json.dumps({"detail": f"refused with {part}"})
            response = socket.respond(HTTPStatus(part), detail)
            if part == 503:
                response.headers["Retry-After"] = "0"
            return response
        waiting.append(part)
        return None

    async def handle(socket: ServerConnection) -> None:
        query, token = found.requests[-1]
        peer = Peer(socket, query, token)
        found.peers.append(peer)
        try:
            await waiting.pop(0)(peer)
            await peer.listen()
        except ConnectionClosed:
            pass

    server = await serve(
        handle, "127.0.0.1", 0, process_request=judge, subprotocols=["moments.v1.json"]
    )
    async with server:
        [listener] = server.sockets
        found.url = f"ws://127.0.0.1:{listener.getsockname()[1]}"
        yield found


async def greet(peer: Peer) -> None:
    await peer.hello()


async def forever() -> None:
    await asyncio.Event().wait()
