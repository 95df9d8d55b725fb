"""python -m scripts.chaos.takeover: how soon and well one sender goes on where another stopped.

By kill -9: from that to the first request that is sent again, with so many requests in flight.
By SIGTERM: whether anything is lost or sent twice.
"""

import argparse
import asyncio
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, cast

import httptools
import uvloop

from app.commands.process import raise_file_limit
from app.errors import CommandFailed
from scripts.chaos.bundled import BundledServer
from scripts.chaos.caller import Caller
from scripts.chaos.fleet import HOST, Fleet
from scripts.chaos.http import Server
from scripts.chaos.ledger import for_each, read_account
from scripts.chaos.plan import Role

COUNTS = {Role.API: 1, Role.FANOUT: 1, Role.SENDER: 2}
ENDPOINTS_OF_ONE = 16
DRAIN_S = 20.0
LOOK_S = 0.02
WAIT_MAX_S = 60.0
CALL_MAX_S = 5.0
HANDOVER_POSTS = 3
HANDOVER_ANSWERS_S = 0.3

_HELD = re.compile(rb'^moments_leases_held\{role="sender"\} (\S+)', re.MULTILINE)
_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class Target:
    """One server for all endpoints. It answers after `delay_s`, None: once `release` is called."""

    def __init__(self) -> None:
        self.delay_s: float | None = None
        self.came: list[tuple[float, str]] = []  # when, in loop time, and which delivery
        self.answered: Counter[str] = Counter()
        self.cut: set[str] = set()  # whose connection broke before they were answered
        self.open: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), HOST, 0, backlog=4_096)
        self.url = f"http://{HOST}:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for connection in list(self.open):
            connection.transport.abort()
        await self._server.wait_closed()

    @property
    def in_flight(self) -> int:
        return sum(bool(connection.waiting) for connection in self.open)

    def release(self) -> None:
        self.delay_s = 0.0
        for connection in list(self.open):
            connection.answer()


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, target: Target) -> None:
        self.waiting = ""
        self._target = target
        self._parser = httptools.HttpRequestParser(self)
        self._id = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._target.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._target.open.discard(self)
        if self.waiting:
            self._target.cut.add(self.waiting)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"webhook-id":
            self._id = value.decode()

    def on_message_complete(self) -> None:
        loop = asyncio.get_running_loop()
        self.waiting = self._id
        self._target.came.append((loop.time(), self._id))
        if self._target.delay_s is not None:
            loop.call_later(self._target.delay_s, self.answer)

    def answer(self) -> None:
        if self.waiting and not self.transport.is_closing():
            self._target.answered[self.waiting] += 1
            self.waiting = ""
            self.transport.write(_ANSWER)


@dataclass(frozen=True, slots=True)
class Takeover:
    """`in_flight` were cut off by the kill; `first_s` and `last_s` after it they came again."""

    lease_s: float
    in_flight: int
    first_s: float
    last_s: float
    sent_again: int
    lost: int

    @property
    def is_good(self) -> bool:
        return self.first_s <= self.lease_s + 1.0 and not self.lost


@dataclass(frozen=True, slots=True)
class Handover:
    """`in_flight` of both senders at SIGTERM. `took_s` until the one had ended."""

    deliveries: int
    in_flight: int
    took_s: float
    left_in_time: bool
    repeated: int
    lost: int

    @property
    def is_good(self) -> bool:
        return self.left_in_time and not (self.repeated or self.lost)


class Stage:
    """A service, and one author whose friends have `endpoints` together, `each` of them so many."""

    def __init__(
        self,
        fleet: Fleet,
        caller: Caller,
        target: Target,
        endpoints: int,
        each: int = ENDPOINTS_OF_ONE,
    ) -> None:
        self.fleet = fleet
        self._each = each
        self.target = target
        self.endpoints = endpoints
        self._caller = caller

    async def introduce(self) -> None:
        users = [f"friend-{number}" for number in range(-(-self.endpoints // self._each))]
        for user in users:
            await self._caller.must("PUT", f"/v1/users/author/friends/{user}")
        places = [(users[n // self._each], n) for n in range(self.endpoints)]
        await for_each(places, self._register)

    async def until_each_sender_has_shards(self) -> None:
        """Whoever comes first takes all, and hands over half of them to the other."""
        urls = self.fleet.workers(Role.SENDER)
        async with AsyncExitStack() as stack:
            senders = [Server(url, {}, connect_s=CALL_MAX_S, answer_s=CALL_MAX_S) for url in urls]
            for sender in senders:
                stack.push_async_callback(sender.close)
            async with asyncio.timeout(WAIT_MAX_S):
                held = [0.0]
                while 0.0 in held or len(set(held)) > 1:
                    await asyncio.sleep(LOOK_S)
                    held = [await _shards_of(sender) for sender in senders]

    async def _register(self, place: tuple[str, int]) -> None:
        user, number = place
        body = {"user": user, "url": f"{self.target.url}/{number}"}
        await self._caller.must("POST", "/v1/endpoints", body)

    async def post(self) -> str:
        body = {"author": "author", "data": {}}
        return (await self._caller.must("POST", "/v1/posts", body))["id"]

    async def until(
        self, condition: Callable[[], bool], what: str, limit_s: float = WAIT_MAX_S
    ) -> None:
        """Raises CommandFailed when that does not come about."""
        try:
            async with asyncio.timeout(limit_s):
                while not condition():
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise CommandFailed(f"{what} did not come about in {limit_s:.0f} s") from None

    async def lost(self, posts: list[str]) -> int:
        """Deliveries that were not answered, or are not recorded as delivered in the end."""
        until_s = time.monotonic() + WAIT_MAX_S
        while True:
            accounts = [await read_account(self._caller, post) for post in posts]
            rows = [row for one in accounts if one for row in one.rows if row.endpoint]
            good = sum(r.state == "delivered" and self.target.answered[r.id] > 0 for r in rows)
            lost = self.endpoints * len(posts) - good
            if not lost or time.monotonic() > until_s:
                return lost
            await asyncio.sleep(0.2)


async def _shards_of(sender: Server) -> float:
    _, metrics = await sender.request("GET", "/metrics", b"", {})
    held = _HELD.search(metrics)
    return float(held[1]) if held is not None else 0.0


@asynccontextmanager
async def _stage(directory: Path, in_flight: int, lease_s: float) -> AsyncIterator[Stage]:
    """Each of the two senders gets about half of the endpoints."""
    settings = {
        "allow_cidrs": "127.0.0.0/8",
        "author_rate_per_s": "0",  # all posts are of one
        "lease_s": f"{lease_s}",
        "request_deadline_s": f"{lease_s + 60}",
        "host_in_flight_max": f"{8 * in_flight}",
        "in_flight_max": f"{8 * in_flight}",
        "endpoint_in_flight_max": "1",
        "held_max": f"{20 * in_flight}",
    }
    store = BundledServer(directory / "store")
    async with (
        Target() as target,
        Fleet(directory, store, settings, drain_s=DRAIN_S, counts=COUNTS) as fleet,
        Caller(fleet.apis, fleet.admin_key, random.Random(1)) as caller,
    ):
        stage = Stage(fleet, caller, target, 2 * in_flight)
        await stage.until_each_sender_has_shards()
        await stage.introduce()
        yield stage


async def measure_takeover(directory: Path, in_flight: int, lease_s: float) -> Takeover:
    """Raises CommandFailed when it does not come to it."""
    async with _stage(directory, in_flight, lease_s) as stage:
        target = stage.target
        post = await stage.post()
        await stage.until(lambda: target.in_flight >= stage.endpoints, "all of it in flight")
        killed_s = asyncio.get_running_loop().time()
        before = len(target.came)
        stage.fleet.send("sender-1", signal.SIGKILL)
        await stage.until(lambda: len(target.came) - before >= len(target.cut) > 0, "taking over")
        again = target.came[before:]
        target.release()
        return Takeover(
            lease_s=lease_s,
            in_flight=len(target.cut),
            first_s=again[0][0] - killed_s,
            last_s=again[-1][0] - killed_s,
            sent_again=len({id_ for _, id_ in again} & target.cut),
            lost=await stage.lost([post]),
        )


async def measure_handover(directory: Path, in_flight: int, lease_s: float) -> Handover:
    """The same; the one that is told to stop has more waiting than is in flight."""
    async with _stage(directory, in_flight, lease_s) as stage:
        target = stage.target
        posts = [await stage.post() for _ in range(HANDOVER_POSTS)]
        total = HANDOVER_POSTS * stage.endpoints
        await stage.until(lambda: target.in_flight >= stage.endpoints, "much in flight")
        at_stop = target.in_flight
        target.delay_s = HANDOVER_ANSWERS_S
        leaving = asyncio.create_task(stage.fleet.remove("sender-1"), name="leave")
        began = time.monotonic()
        await asyncio.sleep(HANDOVER_ANSWERS_S)
        for connection in list(target.open):  # those that came before there was a delay
            connection.answer()
        in_time = await leaving
        took_s = time.monotonic() - began
        lost = await stage.lost(posts)
        return Handover(
            deliveries=total,
            in_flight=at_stop,
            took_s=took_s,
            left_in_time=in_time,
            repeated=len(target.came) - len({id_ for _, id_ in target.came}),
            lost=lost,
        )


async def main(asked: argparse.Namespace) -> bool:
    raise_file_limit()
    with tempfile.TemporaryDirectory(prefix="moments-takeover-") as directory:
        taken = await measure_takeover(Path(directory) / "kill", asked.in_flight, asked.lease)
        print(
            f"kill -9 with {taken.in_flight:,} requests in flight, lease {taken.lease_s} s: the "
            f"first came again after {taken.first_s:.2f} s, the last after {taken.last_s:.2f} s; "
            f"sent again {taken.sent_again:,}, lost {taken.lost:,}"
        )
        handed = await measure_handover(Path(directory) / "term", asked.in_flight, asked.lease)
        print(
            f"SIGTERM with {handed.in_flight:,} in flight at both senders, more waiting: gone "
            f"after {handed.took_s:.2f} s; of {handed.deliveries:,} deliveries lost "
            f"{handed.lost:,}, repeated {handed.repeated:,}"
        )
    return taken.is_good and handed.is_good


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m scripts.chaos.takeover")
    parser.add_argument("--in-flight", type=int, default=1_000, help="requests of one sender")
    parser.add_argument("--lease", type=float, default=2.0, help="seconds")
    try:
        sys.exit(0 if uvloop.run(main(parser.parse_args())) else 1)
    except CommandFailed as failure:
        sys.exit(f"takeover: {failure}")
