"""The demo's sockets: clients that note every frame, and that can be cut and come back."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from app.clock import now_ms
from app.commands.resume import Place

_OPEN_TIMEOUT_S = 10.0
_OPENING_MAX = 16


@dataclass(frozen=True, slots=True)
class Frame:
    """An event as it came. `live`: not among what a resuming client had missed."""

    at_ms: int
    offset: int
    post: str
    live: bool


@dataclass(slots=True)
class Client:
    """One user's socket, over all its connections."""

    user: str
    token: str
    place: Place = field(default_factory=lambda: Place(after=0))
    frames: list[Frame] = field(default_factory=list[Frame])
    others: list[str] = field(default_factory=list[str])  # types of frames nobody expects here
    drops: int = 0
    head: int = 0  # newest offset when the connection was opened
    socket: ClientConnection | None = None
    is_open: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, text: str | bytes) -> bool:
        """Notes what came; True for an event."""
        at_ms = now_ms()
        frame = json.loads(text)
        self.place = self.place.seen(frame)
        if frame["type"] == "hello":
            self.head = frame["head"]
            self.is_open.set()
        elif "offset" in frame:
            offset = frame["offset"]
            self.frames.append(Frame(at_ms, offset, frame["post"]["id"], offset > self.head))
            return True
        elif frame["type"] != "goodbye":
            self.others.append(frame["type"])
        return False


class Sockets:
    """`async with Sockets(url, tokens, noticed)`: all open when the block begins."""

    def __init__(self, url: str, tokens: Mapping[str, str], noticed: Callable[[], None]) -> None:
        self.clients = {user: Client(user, token) for user, token in tokens.items()}
        self._url = url
        self._noticed = noticed
        self._opening = asyncio.Semaphore(_OPENING_MAX)
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Sockets":
        try:
            await asyncio.gather(*(self._open(client) for client in self.clients.values()))
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.gather(*(self._close(client) for client in self.clients.values()))

    async def drop(self, user: str, away_s: float) -> None:
        """Cuts a user's connection as a lost network does, and resumes after `away_s`."""
        client = self.clients[user]
        assert client.socket is not None
        client.drops += 1
        client.is_open.clear()
        client.socket.transport.abort()
        await asyncio.sleep(away_s)
        await self._open(client)

    async def _open(self, client: Client) -> None:
        async with self._opening:
            query = {"token": client.token, **client.place.parameters()}
            client.socket = await connect(
                f"{self._url}/v1/socket?{urlencode(query)}",
                subprotocols=[Subprotocol("moments.v1.json")],
                open_timeout=_OPEN_TIMEOUT_S,
                compression=None,
                proxy=None,
            )
        task = asyncio.create_task(self._read(client, client.socket), name=f"read {client.user}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        async with asyncio.timeout(_OPEN_TIMEOUT_S):
            await client.is_open.wait()

    async def _read(self, client: Client, socket: ClientConnection) -> None:
        try:
            async for message in socket:
                if client.take(message):
                    self._noticed()
        except ConnectionClosed:
            return  # cut by `drop`; a frame that is missing in the end is seen by its offset

    async def _close(self, client: Client) -> None:
        if client.socket is not None:
            await client.socket.close()
