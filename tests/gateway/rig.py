"""Open sockets on real connections, with a clock that is set and with ears for what they want."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side

from app.domain.post import Event, EventKind, Post
from app.errors import BadToken
from app.gateway.connection import Connection
from app.gateway.context import Context
from app.gateway.encoding import JSON, Encoding, EventFrames
from app.gateway.limits import Limits
from app.gateway.notices import Notices
from app.gateway.session import Session
from app.gateway.stats import Stats
from app.gateway.wheel import Wheel
from app.store.inbox import InboxPage
from app.tokens import LEEWAY_S, Claims
from app.wire import encode_json

POST_ID = "01k2v3w4x5y6z7a800"
EVENT = Event(POST_ID, 1, EventKind.CREATED)
TTL_S = 3_600.0
PATIENCE_S = 10.0


def make_post(size: int = 5) -> Post:
    return Post(POST_ID, "ann", "post", 1, 1_000, 2_000, encode_json({"text": "x" * size}))


def page(first: int, count: int, *, head: int | None = None, cursor: int = 0) -> InboxPage:
    """Events `first`, `first` + 1 … of an inbox of which nothing is gone."""
    last = first + count - 1
    return InboxPage(0, last if head is None else head, cursor, first - 1, (EVENT,) * count)


def verify(token: str) -> Claims:
    """Takes a user's name for a token; `user/seconds` is one that ends so soon."""
    user, _, ttl_s = token.partition("/")
    if not user.isalpha():
        raise BadToken("expired")
    return Claims(user, round(time.time() + float(ttl_s or TTL_S) - LEEWAY_S))


class Client:
    """The other end of a connection, which reads only when it is told to."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._protocol = Protocol(Side.CLIENT, max_size=None)
        self.is_ended = False  # the other side has closed

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def frame(self) -> Frame:
        """The next frame."""
        while not self._protocol.events:
            await self.read()
            assert self._protocol.events or not self.is_ended, "closed without another frame"
        frame = self._protocol.events.pop(0)
        assert isinstance(frame, Frame)
        return frame

    async def read(self) -> int:
        """Takes in what has come; the number of bytes, 0 at the end."""
        async with asyncio.timeout(PATIENCE_S):  # pytest's own does not work under uvloop
            data = await asyncio.get_running_loop().sock_recv(self.sock, 1 << 20)
        if data:
            self._protocol.receive_data(data)
        else:
            self.is_ended = True
        return len(data)

    async def message(self) -> Any:
        frame = await self.frame()
        assert frame.opcode is Opcode.TEXT, frame
        return json.loads(bytes(frame.data))

    async def offsets(self, count: int) -> list[int]:
        return [(await self.message())["offset"] for _ in range(count)]

    async def close_frame(self) -> Close:
        """What the next frame but events says."""
        while (frame := await self.frame()).opcode is not Opcode.CLOSE:
            assert frame.opcode in (Opcode.TEXT, Opcode.PING), frame
        return Close.parse(bytes(frame.data))

    async def end(self) -> None:
        """Until the other side has closed the connection."""
        try:
            while await self.read():
                pass
        except ConnectionResetError:
            self.is_ended = True


@dataclass
class Socket:
    connection: Connection
    client: Client


@dataclass
class Rig:
    """What is wanted stands in lists; nobody does it."""

    limits: Limits = field(default_factory=Limits)
    now: float = 1_000.0
    asked: list[Connection] = field(default_factory=list)
    repeats: list[tuple[Connection, int]] = field(default_factory=list)
    left: list[Connection] = field(default_factory=list)
    lost: int = 0
    cursors: dict[str, int] = field(default_factory=dict)
    repushed: list[tuple[str, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stats = Stats()
        self.wheel = Wheel(self.now)
        self.context = Context(
            limits=self.limits,
            epoch="epoch1",
            stats=self.stats,
            notices=Notices(lambda: self.now),
            wheel=self.wheel,
            verify=verify,
            now=lambda: self.now,
            ask=self.asked.append,
            repeat=lambda connection, offset: self.repeats.append((connection, offset)),
            left=self.left.append,
            lost=self._lose,
            advance=self._advance,
            repushed=lambda *told: self.repushed.append(told),
        )

    def _lose(self, _: Connection) -> None:
        self.lost += 1

    def _advance(self, user: str, offset: int) -> None:
        self.cursors[user] = max(offset, self.cursors.get(user, 0))

    def pass_time(self, seconds: float) -> None:
        """Second by second, so that everything happens at its time."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + 0.5, end)
            for timed in self.wheel.due(self.now):
                timed.check(self.now)

    @asynccontextmanager
    async def socket(
        self,
        *,
        token: str = "bob",
        after: int | None = 0,
        explicit: bool = False,
        encoding: Encoding = JSON,
        buffer_bytes: int | None = None,
    ) -> AsyncIterator[Socket]:
        """A socket whose route is being written; `buffer_bytes` for a small kernel buffer."""
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
            if buffer_bytes is not None:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, ours)
        session = Session(self.limits, explicit=explicit, after=after, lost=False)
        connection = Connection(
            self.context, cast(asyncio.Transport, transport), session, encoding, verify(token)
        )
        connection.watch(self.limits.ping_s)
        try:
            yield Socket(connection, Client(theirs))
        finally:
            transport.abort()
            theirs.close()
            await asyncio.sleep(0)  # for connection_lost
            await asyncio.sleep(0)

    @asynccontextmanager
    async def live_socket(self, *, head: int = 0, **options: Any) -> AsyncIterator[Socket]:
        """The same, with the hello said and nothing else to come."""
        async with self.socket(after=head, **options) as one:
            go_live(one.connection, head)
            self.asked.clear()
            hello = await one.client.frame()
            assert hello.opcode in (Opcode.TEXT, Opcode.BINARY)
            yield one


def go_live(connection: Connection, head: int = 0) -> None:
    connection.go_on()
    connection.begin_page(page(head + 1, 0, head=head))
    connection.write_events(head + 1, (), {})
    connection.end_page(head)


def push(connection: Connection, *offsets: int, size: int = 5) -> None:
    """What the hub does with one read."""
    frames = EventFrames(EVENT, make_post(size))
    for offset in offsets:
        verdict = connection.session.push(offset)
        if verdict.name == "WRITE":
            connection.outgoing.append(frames.frame(connection.encoding, offset))
        elif verdict.name == "READ":
            connection.ask()
    connection.flush()


def hand_out(connection: Connection, read: InboxPage, *, size: int = 5) -> None:
    """What the feed does with one page."""
    frames = {EVENT: EventFrames(EVENT, make_post(size))}
    connection.begin_page(read)
    connection.write_events(read.first_offset, read.events, frames)
    connection.end_page(read.head)


class MemoryPosts:
    """Bodies for a feed or a hub under test; those not put in are not kept any more."""

    def __init__(self, *posts: Post) -> None:
        self.posts = {post.id: post for post in posts}
        self.asked: list[set[Event]] = []
        self.error: Exception | None = None

    async def get(self, events: Collection[Event]) -> dict[str, Post | None]:
        self.asked.append(set(events))
        if self.error is not None:
            raise self.error
        return {event.post: self.posts.get(event.post) for event in events}


class MemoryPages:
    """Inboxes: user → events from offset 1 on."""

    def __init__(self, **inboxes: Sequence[Event]) -> None:
        self.inboxes = inboxes
        self.trimmed: dict[str, int] = {}
        self.cursors: dict[str, int] = {}
        self.asked: list[list[tuple[str, int | None, int]]] = []
        self.error: Exception | None = None

    async def read_many(self, asks: Sequence[tuple[str, int | None, int]]) -> list[InboxPage]:
        self.asked.append(list(asks))
        if self.error is not None:
            raise self.error
        return [self._read(*ask) for ask in asks]

    def _read(self, user: str, after: int | None, limit: int) -> InboxPage:
        events = self.inboxes.get(user, ())
        cursor, trimmed = self.cursors.get(user, 0), self.trimmed.get(user, 0)
        after = cursor if after is None else after
        first = max(after, trimmed)
        return InboxPage(trimmed, len(events), cursor, after, tuple(events[first : first + limit]))
