"""The gateway without the rest: the real one on real sockets, in a process of its own.

What is pushed comes from a feed in that process instead of the store, in the shape the store would
give it: an entry for each shard and slice of a post. Reading and unpacking entries is left out.
"""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

import uvloop

from app.commands.process import raise_file_limit, settle_memory
from app.domain.ids import post_id
from app.domain.post import Event, EventKind, Post
from app.domain.shard import shard_of
from app.gateway.encoding import EventFrames
from app.gateway.limits import Limits
from app.gateway.server import Gateway
from app.store.inbox import InboxPage
from app.store.nodes import OnPushes, Push
from app.tokens import TokenVerifier, make_token
from scripts.bench.crowd import upgrade
from scripts.bench.push_server import Kind, Talk
from scripts.bench.serving import serve
from scripts.bench.told_server import ToldServer, python, told_server
from scripts.load.frames import PONG, client_frame

NAME: Final = "moments"
SECRET: Final = "a secret for the bench, long enough"
SHARDS: Final = 8
SLICE: Final = 500
DAY_S: Final = 86_400
PING_S: Final = 3_600.0  # longer than any run: pings come when they are wanted

ANSWERS: Final = {b"\x89\x00": client_frame(PONG)}


def talk(number: int) -> Talk:
    token = make_token(SECRET, user(number), ttl_s=DAY_S)
    return ((upgrade(f"/v1/socket?token={token}"), b'"type":"hello"'),)


def start(directory: Path) -> AbstractAsyncContextManager[ToldServer]:
    return told_server(NAME, python(__name__), directory, talk, ANSWERS)


MOMENTS: Final = Kind(NAME, start)


def user(number: int) -> str:
    return f"user{number}"


def base_of(user: str) -> int:
    """How many events everybody has in their inbox at first: numbers of two to four digits."""
    return int(user.removeprefix("user")) * 7919 % 3000 + 10


class Inbox:
    """Everybody is caught up, each at an offset of their own."""

    def __init__(self) -> None:
        self.pushed = 0

    def head(self, user: str) -> int:
        return base_of(user) + self.pushed

    async def read_many(self, asks: Sequence[tuple[str, int | None, int]]) -> list[InboxPage]:
        heads = [self.head(user) for user, _, _ in asks]
        return [InboxPage(0, head, head, head, ()) for head in heads]

    async def advance(self, cursors: Mapping[str, int]) -> dict[str, int]:
        return dict(cursors)

    async def note_repushes(self, counts: Mapping[str, tuple[int, int]]) -> None:
        raise AssertionError("nothing is pushed again here")


class Bodies:
    def __init__(self) -> None:
        self.posts: dict[str, Post | None] = {}

    async def get(self, events: Collection[Event]) -> dict[str, Post | None]:
        return {event.post: self.posts[event.post] for event in events}


class Node:
    on_pushes: OnPushes

    async def join(self, users: Collection[str]) -> None: ...
    async def leave(self, users: Collection[str]) -> None: ...
    async def beat(self) -> None: ...
    async def close(self) -> None: ...

    async def run(self, on_pushes: OnPushes, stop: asyncio.Event) -> None:
        self.on_pushes = on_pushes
        await stop.wait()


class Clock:
    """Seconds that never go back, and may be put forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


class Program:
    def __init__(self) -> None:
        self._node, self._inbox, self._bodies, self._clock = Node(), Inbox(), Bodies(), Clock()
        self.gateway = Gateway(
            self._node,
            self._inbox,
            self._bodies,
            TokenVerifier(SECRET).verify,
            epoch="bench",
            shards=SHARDS,
            limits=Limits(ping_s=PING_S, pong_timeout_s=PING_S),
            now=self._clock,
        )
        self._pushes: list[Push] = []

    async def listen(self) -> int:
        port = await self.gateway.start("127.0.0.1", 0)
        settle_memory()
        return port

    async def settle(self) -> bool:
        """Everybody is pinged: what an answer leaves behind is part of a socket's memory."""
        self._clock.ahead_s += PING_S
        return True

    def prepare(self, payload: str, times: int) -> None:
        """Posts to everybody here, as one read of the node's streams brings them."""
        self._bodies.posts.clear()
        self._pushes.clear()
        users = [user(number) for number in range(self.gateway.stats.sockets_open)]
        for _ in range(times):
            self._inbox.pushed += 1
            post = _post(payload)
            self._bodies.posts[post.id] = post
            for begin in range(0, len(users), SLICE):
                self._push(Event(post.id, 1, EventKind.CREATED), users[begin : begin + SLICE])

    def _push(self, event: Event, users: Sequence[str]) -> None:
        by_shard: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
        for one in users:
            by_shard[shard_of(one, SHARDS)].append((one, self._inbox.head(one)))
        self._pushes += [
            Push(shard, event, tuple(recipients)) for shard, recipients in by_shard.items()
        ]

    async def publish(self) -> None:
        await self._node.on_pushes(self._pushes)


def _post(payload: str) -> Post:
    """One whose frame is about as long as the payload, which is cut for that at its end."""
    at_ms = time.time_ns() // 1_000_000
    id_ = post_id(at_ms, random.getrandbits(30), 3)
    data = b'{"text":"%s"}'

    def of(text: bytes) -> Post:
        return Post(id_, "author", "post", 1, at_ms, at_ms, data % text)

    empty = EventFrames(Event(id_, 1, EventKind.CREATED), of(b"")).text.at(1_000)
    return of(payload.encode()[: len(payload) + 4 - len(empty)])


async def run() -> None:
    """Until there are no more orders."""
    program = Program()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(program.gateway.run(asyncio.Event()), name="gateway")
        await serve(program)
        running.cancel()


if __name__ == "__main__":
    raise_file_limit()
    uvloop.run(run())
