"""What the gateway costs: CPU for each delivery, and memory for each idle socket.

    python scripts/bench/gateway.py [--sockets 2000] [--loop uvloop|asyncio]

The gateway is the real one on real TCP sockets, in a process of its own; what is pushed to it comes
from a feed in that process instead of the store, in the shape the store would give it (an entry
for each shard and slice). CPU is that process's, user and system, while a push is handed out. The
floor is one bare write system call for each socket with the same bytes, measured in turns.
"""

import argparse
import asyncio
import gc
import multiprocessing
import os
import random
import selectors
import socket
import statistics
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parents[2]))

from app.domain.ids import post_id
from app.domain.post import Event, EventKind, Post
from app.domain.shard import shard_of
from app.gateway.encoding import PING
from app.gateway.limits import Limits
from app.gateway.server import Gateway
from app.store.inbox import InboxPage
from app.store.nodes import OnPushes, Push
from app.tokens import TokenVerifier, make_token

SECRET = "a secret for the bench, long enough"
SHARDS = 8
SLICE = 500
PATIENCE_S = 60
DATA = b'{"text":"%s"}' % (b"x" * 60)  # makes frames of about 250 bytes


class Inbox:
    """Everybody is caught up at an offset of their own."""

    async def read_many(self, asks: Sequence[tuple[str, int | None, int]]) -> list[InboxPage]:
        return [
            InboxPage(0, base_of(user), base_of(user), base_of(user), ()) for user, _, _ in asks
        ]

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
    async def close(self) -> None: ...

    async def run(self, on_pushes: OnPushes, stop: asyncio.Event) -> None:
        self.on_pushes = on_pushes
        await stop.wait()


def base_of(user: str) -> int:
    return int(user[4:]) * 7919 % 3000 + 1


def clients(port: int, count: int, pipe: Pipe) -> None:
    """Opens sockets and reads them dry; answers pings; tells the number of bytes when asked."""
    selector = selectors.DefaultSelector()
    total = 0
    for number in range(count):
        sock = socket.create_connection(("127.0.0.1", port))
        token = make_token(SECRET, f"user{number}", ttl_s=3600)
        sock.sendall(
            f"GET /v1/socket?token={token} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in (head := sock.recv(65536)):
            pass
        assert head.startswith(b"HTTP/1.1 101"), head
        total += len(head) - head.index(b"\r\n\r\n") - 4
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ)
    selector.register(pipe, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is pipe:
                if pipe.recv() == "stop":
                    return
                pipe.send(total)
            else:
                data = key.fileobj.recv(1 << 20)  # type: ignore[union-attr]
                total += len(data)
                if data == b"\x89\x00":
                    key.fileobj.send(b"\x8a\x80\0\0\0\0")  # type: ignore[union-attr]


@contextmanager
def client_process(port: int, count: int) -> Iterator[Pipe]:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=clients, args=(port, count, theirs), daemon=True)
    process.start()
    try:
        yield ours
        ours.send("stop")
        process.join(10)
    finally:
        process.kill()


class Bench:
    def __init__(self) -> None:
        self.node, self.bodies = Node(), Bodies()
        verify = TokenVerifier(SECRET).verify
        self.gateway = Gateway(
            self.node,
            Inbox(),
            self.bodies,
            verify,
            epoch="bench",
            shards=SHARDS,
            limits=Limits(ping_s=3600, goodbye_spread_s=0),
        )
        self.pushed = 0

    def pushes(self, users: Sequence[str], posts: int) -> list[Push]:
        """Posts from one author to all users, as one read of the node's streams brings them."""
        pushes: list[Push] = []
        for _ in range(posts):
            self.pushed += 1
            at_ms = time.time_ns() // 1_000_000
            id_ = post_id(at_ms, random.getrandbits(30), 3)
            self.bodies.posts[id_] = Post(id_, "author", "post", 1, at_ms, at_ms, DATA)
            event = Event(id_, 1, EventKind.CREATED)
            for start in range(0, len(users), SLICE):
                by_shard: dict[int, list[tuple[str, int]]] = {}
                for user in users[start : start + SLICE]:
                    entry = (user, base_of(user) + self.pushed)
                    by_shard.setdefault(shard_of(user, SHARDS), []).append(entry)
                pushes += [Push(shard, event, tuple(by_shard[shard])) for shard in by_shard]
        return pushes

    async def hand_out(self, users: Sequence[str], posts: int) -> float:
        """CPU microseconds a delivery."""
        pushes = self.pushes(users, posts)
        sent = self.gateway.stats.frames_sent
        gc.collect()
        begun = time.process_time()
        await self.node.on_pushes(pushes)
        used = time.process_time() - begun
        assert self.gateway.stats.frames_sent - sent == len(users) * posts
        return used / (len(users) * posts) * 1e6

    def floor(self, count: int) -> float:
        connections = self.gateway._hub.everybody()[:count]
        # An unsolicited pong of the length of a frame would not do: it is at most 125 bytes.
        frame = b"\x82\x7e\x00\xfa" + bytes(250)
        fds = [connection._fd for connection in connections]
        begun = time.process_time()
        for fd in fds:
            os.write(fd, frame)
        return (time.process_time() - begun) / len(fds) * 1e6


def rss() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


async def settled(pipe: Pipe, sent: int) -> None:
    """Until the clients have read everything."""

    def have_read() -> bool:
        pipe.send("total")
        if not pipe.poll(PATIENCE_S):
            raise TimeoutError("the clients do not answer")
        return pipe.recv() >= sent

    await until(have_read)


async def bench(sockets: int, rounds: int) -> None:
    one = Bench()
    port = await one.gateway.start("127.0.0.1", 0)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(one.gateway.run(stop))
        await asyncio.sleep(0)
        gc.collect()
        before = rss()
        with client_process(port, sockets) as pipe:
            stats, floor_bytes = one.gateway.stats, 0
            await until(lambda: stats.pages_read == sockets)
            gc.collect()
            print(f"idle socket: {(rss() - before) / sockets:,.0f} bytes")
            everyone = one.gateway._hub.everybody()
            for connection in everyone:
                connection._send(PING)
            await until(lambda: all(connection._incoming for connection in everyone))
            gc.collect()
            print(f"  that has answered a ping: {(rss() - before) / sockets:,.0f} bytes")
            floor_bytes += len(PING) * sockets
            everybody = [f"user{number}" for number in range(sockets)]
            floors, singles = [], []
            for _ in range(rounds):
                floors.append(one.floor(sockets))
                floor_bytes += sockets * 254
                await settled(pipe, stats.bytes_sent + floor_bytes)
                singles.append(await one.hand_out(everybody, 1))
                await settled(pipe, stats.bytes_sent + floor_bytes)
            report(f"one post to {sockets} sockets", singles)
            report("  a bare write each", floors)
            some = everybody[: min(500, sockets)]
            bursts = []
            for _ in range(max(3, rounds // 4)):
                bursts.append(await one.hand_out(some, 200))
                await settled(pipe, stats.bytes_sent + floor_bytes)
            report(f"200 posts at once to {len(some)} sockets", bursts)
            print(f"  behind: {stats.fallen_behind}")
        stop.set()


def report(what: str, figures: Sequence[float]) -> None:
    median, best = statistics.median(figures), min(figures)
    print(f"{what}: {median:.2f} µs CPU a delivery (best {best:.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sockets", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop")
    options = parser.parse_args()
    factory = uvloop.new_event_loop if options.loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(bench(options.sockets, options.rounds))


if __name__ == "__main__":
    main()
