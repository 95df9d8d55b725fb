"""A real gateway on a port, and clients of it: raw ones, and the websockets library's."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlencode

import msgpack
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from app.gateway.door import Operations, Rules
from app.gateway.limits import Limits
from app.gateway.server import Gateway
from app.store.nodes import OnPushes
from app.tokens import TokenVerifier, make_token
from tests.credentials import SECRET
from tests.gateway.rig import MemoryPages, MemoryPosts

SHARDS = 8
EPOCH = "0123456789ab"
VERIFIER = TokenVerifier(SECRET)
PATIENCE_S = 10.0  # pytest's own timeout does not work under uvloop
AT_ONCE = Limits(goodbye_spread_s=0)


def token_of(user: str, ttl_s: int = 3_600) -> str:
    return make_token(SECRET, user, ttl_s=ttl_s)


class QuietNode:
    """A node that nothing is pushed to, for what has nothing to do with the store."""

    def __init__(self) -> None:
        self.named: set[str] = set()
        self.on_pushes: OnPushes | None = None
        self.is_closed = False

    async def join(self, users: Collection[str]) -> None:
        self.named.update(users)

    async def leave(self, users: Collection[str]) -> None:
        self.named.difference_update(users)

    async def run(self, on_pushes: OnPushes, stop: asyncio.Event) -> None:
        self.on_pushes = on_pushes
        await stop.wait()

    async def close(self) -> None:
        self.is_closed = True


class QuietInbox(MemoryPages):
    """Inboxes nobody writes to."""

    async def advance(self, cursors: Mapping[str, int]) -> dict[str, int]:
        self.cursors.update(cursors)
        return dict(cursors)

    async def note_repushes(self, counts: Mapping[str, tuple[int, int]]) -> None: ...


class Socket:
    """A client of the websockets library that reads the contract's messages."""

    def __init__(self, connection: ClientConnection) -> None:
        self.raw = connection
        self.hello: dict[str, Any] = {}

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            data = await self.raw.recv()
        return json.loads(data) if isinstance(data, str) else msgpack.unpackb(data)

    async def events(self, count: int) -> list[dict[str, Any]]:
        return [await self.next() for _ in range(count)]

    async def offsets(self, count: int) -> list[int]:
        return [message["offset"] for message in await self.events(count)]

    async def rest(self) -> list[int]:
        """The offsets of what still comes until it is closed."""
        offsets: list[int] = []
        with suppress(ConnectionClosed):
            while True:
                offsets += await self.offsets(1)
        return offsets

    async def say(self, **message: Any) -> None:
        if self.raw.subprotocol == "moments.v1.msgpack":
            await self.raw.send(msgpack.packb(message))
        else:
            await self.raw.send(json.dumps(message))

    async def ack(self, offset: int) -> None:
        await self.say(type="ack", offset=offset)

    async def closed(self) -> int | None:
        """The code it was closed with by the gateway."""
        async with asyncio.timeout(PATIENCE_S):
            await self.raw.wait_closed()
        return self.raw.close_code


class Gate:
    """A gateway that runs."""

    def __init__(self, gateway: Gateway, port: int, stop: asyncio.Event) -> None:
        self.gateway = gateway
        self.stats = gateway.stats
        self.port = port
        self.stop = stop
        self.has_ended = asyncio.Event()

    def url(self, user: str | None, **parameters: Any) -> str:
        token = {} if user is None else {"token": token_of(user)}
        return f"ws://127.0.0.1:{self.port}/v1/socket?{urlencode({**token, **parameters})}"

    @asynccontextmanager
    async def socket(
        self,
        user: str | None,
        *,
        subprotocols: Collection[str] = (),
        headers: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
        **parameters: Any,
    ) -> AsyncIterator[Socket]:
        """A socket before its hello."""
        async with connect(
            self.url(user, **parameters),
            subprotocols=list(subprotocols) or None,
            additional_headers=headers,
            compression=None,
            ping_interval=None,
            open_timeout=PATIENCE_S,
            close_timeout=1,
            proxy=None,
            **(options or {}),
        ) as connection:
            yield Socket(connection)

    @asynccontextmanager
    async def greeted(self, user: str, **options: Any) -> AsyncIterator[Socket]:
        """A socket after its hello: what comes is pushed to it."""
        async with self.socket(user, **options) as socket:
            socket.hello = await socket.next()
            assert socket.hello["type"] == "hello"
            yield socket

    async def ask(self, request: str | bytes) -> bytes:
        """Sends a request as it is; all that comes back until the gateway closes."""
        async with self.raw() as (reader, writer):
            writer.write(request.encode() if isinstance(request, str) else request)
            return await reader.read()

    @asynccontextmanager
    async def raw(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                yield reader, writer
            finally:
                writer.transport.abort()


@asynccontextmanager
async def running(
    node: Any = None,
    inbox: Any = None,
    bodies: Any = None,
    *,
    limits: Limits = AT_ONCE,
    operations: Operations | None = None,
    rules: Rules | None = None,
    listener: socket.socket | None = None,
    tokens: TokenVerifier = VERIFIER,
) -> AsyncIterator[Gate]:
    """A gateway that is told to stop at the end, and has then to end in time."""
    gateway = Gateway(
        node or QuietNode(),
        inbox or QuietInbox(),
        bodies or MemoryPosts(),
        tokens.verify,
        epoch=EPOCH,
        shards=SHARDS,
        limits=limits,
        operations=operations,
        rules=rules,
    )
    stop = asyncio.Event()
    start = gateway.start("127.0.0.1", 0) if listener is None else gateway.start_on(listener)
    gate = Gate(gateway, await start, stop)
    run = asyncio.create_task(gateway.run(stop))
    run.add_done_callback(lambda _: gate.has_ended.set())
    try:
        yield gate
    finally:
        stop.set()
        async with asyncio.timeout(PATIENCE_S):
            await run
