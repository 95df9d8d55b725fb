"""The socket clients: each keeps its connection open, resumes at any gateway, notes every frame."""

import asyncio
import json
import random
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

from app.clock import now_ms
from app.commands.resume import Place
from app.wire import decode_frame, encode_msgpack
from scripts.chaos.cast import Manner, Resume

OPEN_S = 3.0
PING_S = 1.0  # a gateway that is stopped is noticed within both
PONG_S = 2.0
PAUSE_S = (0.05, 0.5)
CUT = 0  # in place of a close code: we have cut the connection
GONE = 1006


@dataclass(frozen=True, slots=True)
class Frame:
    """An event as it came on a connection of its client, numbered from 0."""

    at_ms: int
    connection: int
    offset: int
    type: str
    post: str


@dataclass(slots=True)
class Visit:
    """One connection, up to a reset, which begins another visit on the same one. `after` is the
    offset it was opened with, None: from the cursor; `code` is what it was closed with."""

    after: int | None
    began_ms: int
    ended_ms: int | None = None
    code: int | None = None
    is_reset: bool = False


@dataclass(slots=True)
class Listener:
    """One user's client, over all its connections."""

    user: str
    manner: Manner
    token: str
    frames: list[Frame] = field(default_factory=list[Frame])
    visits: list[Visit] = field(default_factory=list[Visit])
    others: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    place: Place = field(default_factory=lambda: Place(after=0))
    reconnect_ms: int = 0

    @property
    def newest(self) -> int:
        return self.place.after or 0

    def query(self) -> dict[str, str]:
        manner, query = self.manner, {"token": self.token}
        if manner.resume is Resume.AFTER:
            return {**query, **self.place.parameters()}
        if manner.resume is Resume.EXPLICIT:
            query["ack"] = "explicit"
        return query

    def take(self, frame: dict[str, Any]) -> int | None:
        """Notes what came; for an event its offset."""
        self.place = self.place.seen(frame)
        match frame:
            case {"type": str(type_), "offset": int(offset), "post": {"id": str(post)}}:
                number = len(self.visits) - 1
                self.frames.append(Frame(now_ms(), number, offset, type_, post))
                return offset
            case {"type": "goodbye", "reconnect_ms": int(reconnect_ms)}:
                self.reconnect_ms = reconnect_ms
            case {"type": "hello"}:
                pass
            case {"type": "reset"}:
                self.visits.append(Visit(0, now_ms(), is_reset=True))
            case _:
                self.others.append(frame)
        return None


class Listeners:
    """Runs all clients until cancelled."""

    def __init__(
        self, listeners: Iterable[Listener], urls: Sequence[str], random: random.Random
    ) -> None:
        self.listeners = list(listeners)
        self._urls = urls
        self._random = random

    @property
    def frames(self) -> int:
        return sum(len(listener.frames) for listener in self.listeners)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for one in self.listeners:
                tasks.create_task(self._keep_open(one), name=f"listener {one.user}")

    async def _keep_open(self, one: Listener) -> None:
        while True:
            # No gateway there, or none that answers: another try.
            with suppress(OSError, TimeoutError, WebSocketException):
                await self._visit(one)
            pause_s = max(self._random.uniform(*PAUSE_S), one.reconnect_ms / 1000)
            one.reconnect_ms = 0
            await asyncio.sleep(pause_s)

    async def _visit(self, one: Listener) -> None:
        encoding = "msgpack" if one.manner.binary else "json"
        query = one.query()
        async with connect(
            f"{self._random.choice(self._urls)}/v1/socket?{urlencode(query)}",
            subprotocols=[Subprotocol(f"moments.v1.{encoding}")],
            open_timeout=OPEN_S,
            close_timeout=1.0,
            ping_interval=PING_S,
            ping_timeout=PONG_S,
            compression=None,
            proxy=None,
        ) as socket:
            after = query.get("after")
            visit = Visit(None if after is None else int(after), now_ms())
            one.visits.append(visit)
            cutting = asyncio.create_task(self._cut(one, visit, socket), name=f"cut {one.user}")
            try:
                await self._read(one, socket)
            finally:
                cutting.cancel()
                visit.ended_ms = now_ms()
                if visit.code is None:
                    visit.code = socket.close_code or GONE
                last = one.visits[-1]
                last.ended_ms, last.code = visit.ended_ms, visit.code

    async def _read(self, one: Listener, socket: ClientConnection) -> None:
        try:
            async for message in socket:
                text = isinstance(message, str)
                offset = one.take(json.loads(message) if text else decode_frame(message))
                if offset is not None and one.manner.resume is Resume.EXPLICIT:
                    ack = {"type": "ack", "offset": offset}
                    await socket.send(json.dumps(ack) if text else encode_msgpack(ack))
        except ConnectionClosed:
            return  # what was missed is seen by the offsets

    async def _cut(self, one: Listener, visit: Visit, socket: ClientConnection) -> None:
        """Loses the connection as a network does."""
        await asyncio.sleep(self._random.expovariate(1 / one.manner.cut_every_s))
        visit.code = CUT
        socket.transport.abort()
