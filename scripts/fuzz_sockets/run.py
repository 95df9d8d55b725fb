"""Clients that come, say what they say, and go, until so many frames were sent; and whether all is
then as it was before."""

import asyncio
import gc
import logging
import math
import random
import time
import tracemalloc
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final
from unittest.mock import patch

from app.gateway import pacing
from app.gateway.limits import Limits
from app.gateway.server import Gateway
from app.tokens import TokenVerifier
from scripts.fuzz_sockets.frames import SECRET, Sender, Sent
from scripts.fuzz_sockets.transport import Client, Pair, Transport
from scripts.fuzz_sockets.world import SHARDS, Bodies, Clock, Inbox, Node, pushes

AT_ONCE: Final = 24  # connections
FRAMES_MEAN: Final = 30  # of a client that is not closed before
PARTS: Final = 10  # after each of them everybody leaves, and what is left is looked at
SETTLE_ROUNDS: Final = 200
GROWTH_BYTES_MAX: Final = 64 * 1024
GROWTH_OBJECTS_MAX: Final = 200
FAILURES_MAX: Final = 5
# Limits are reached: the fewer there may be, the sooner.
LIMITS: Final = Limits(
    sockets_per_user_max=6,
    tokens_awaited_max=4,
    unsent_bytes_max=4_096,
    ack_timeout_s=3.0,
    ack_attempts_max=3,
)


@dataclass(frozen=True, slots=True)
class Level:
    """What is held when nobody is here. Bytes are 0 where they are not traced."""

    frames: int
    objects: int
    traced_bytes: int


@dataclass(slots=True)
class Report:
    seed: int
    frames: int = 0
    clients: int = 0
    events: int = 0
    seconds: float = 0.0
    closed: Counter[int] = field(default_factory=Counter[int])
    refused: Counter[str] = field(default_factory=Counter[str])
    statuses: Counter[int] = field(default_factory=Counter[int])
    levels: list[Level] = field(default_factory=list[Level])
    failures: list[str] = field(default_factory=list[str])

    def growth(self) -> Level:
        """From the second part on: the first fills what stays full."""
        first, last = self.levels[1], self.levels[-1]
        return Level(
            last.frames - first.frames,
            last.objects - first.objects,
            last.traced_bytes - first.traced_bytes,
        )


class Ears(logging.Handler):
    """Hears what the log has to say of faults. Limits that are reached are none."""

    def __init__(self, failures: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._failures = failures

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or record.exc_info or not hasattr(record, "limit"):
            self._failures.append(f"logged: {self.format(record)}")


@dataclass(slots=True)
class Visit:
    """One client, from its handshake to its end."""

    sender: Sender
    client: Client
    transport: Transport
    left: int  # frames
    has_begun: bool = False
    first: Sent | None = None  # the message with its token, when that is still to be sent


class Fuzz:
    def __init__(self, seed: int) -> None:
        self.report = Report(seed)
        self._chance = random.Random(seed)
        self._clock, self._inbox = Clock(), Inbox()
        self._gateway = Gateway(
            Node(),
            self._inbox,
            Bodies(),
            TokenVerifier(SECRET).verify,
            epoch="fuzz",
            shards=SHARDS,
            limits=LIMITS,
            now=self._clock,
        )
        self._pairs = [Pair() for _ in range(AT_ONCE)]
        self._visits: list[Visit] = []

    async def run(self, frames: int, parts: int = PARTS) -> Report:
        """Nothing in it looks at real time, so that a seed always plays the same."""
        with patch.object(pacing, "PORTION_S", math.inf):
            return await self._run(frames, parts)

    async def _run(self, frames: int, parts: int) -> Report:
        report, gateway = self.report, self._gateway
        random.seed(report.seed)  # of pings, and of what those who are refused are told
        ears, began = Ears(report.failures), time.perf_counter()
        loop, logger = asyncio.get_running_loop(), logging.getLogger()
        logger.addHandler(ears)
        loop.set_exception_handler(self._note_exception)
        works = (gateway._feed.run, gateway._repeats.run, gateway._routes.run)
        tasks = [asyncio.create_task(work(), name=work.__qualname__) for work in works]
        try:
            for part in range(1, parts + 1):
                await self._play(frames * part // parts)
                await self._empty()
                report.levels.append(self._level())
        finally:
            for task in tasks:
                if task.done():
                    report.failures.append(f"{task.get_name()} has ended: {task.exception()!r}")
                task.cancel()
            await asyncio.wait(tasks)
            logger.removeHandler(ears)
            loop.set_exception_handler(None)
            for pair in self._pairs:
                pair.close()
        report.seconds = time.perf_counter() - began
        report.closed, report.refused = gateway.stats.sockets_closed, gateway.stats.sockets_refused
        report.statuses = gateway.stats.requests
        return report

    async def _play(self, until: int) -> None:
        """Until so many frames were sent in all."""
        chance = self._chance
        while self.report.frames < until and len(self.report.failures) < FAILURES_MAX:
            if len(self._visits) < AT_ONCE and chance.random() < 0.3:
                self._come()
            elif self._visits:
                self._guarded(chance.choice(self._visits))
            if chance.random() < 0.1:
                self._pass(chance.choice((0.05, 0.2, 1.0, 1.0, 8.0)))
            if chance.random() < 0.03:
                await self._gateway._hub.on_pushes(pushes(self._inbox, chance))
            if chance.random() < 0.2:
                await asyncio.sleep(0)
            if chance.random() < 0.05:
                await self._gateway._cursors.settle()
            if chance.random() < 0.0002:
                self._inbox.begin_anew()
                await self._gateway.begin_anew(f"epoch{self.report.frames}")

    def _come(self) -> None:
        pair = self._pairs.pop()
        sender = Sender(self._chance, self._inbox.head)
        client = Client(sender.given, self.report.failures)
        transport = Transport(pair, client, lambda: self._pairs.append(pair))
        protocol = self._gateway._accept()
        transport.set_protocol(protocol)
        left = int(self._chance.expovariate(1 / FRAMES_MEAN)) + 1
        self._visits.append(Visit(sender, client, transport, left))
        self.report.clients += 1
        protocol.connection_made(transport)

    def _guarded(self, visit: Visit) -> None:
        try:
            self._step(visit)
        except Exception:  # none of the gateway's methods is to raise one
            logging.getLogger(__name__).exception("frame %d", self.report.frames)
            visit.transport.abort()

    def _step(self, visit: Visit) -> None:
        transport, chance = visit.transport, self._chance
        if transport.is_lost:
            self.report.events += visit.client.events
            self._visits.remove(visit)
        elif not visit.has_begun:
            visit.has_begun = True
            self._say(visit, visit.sender.handshake())
            visit.first = visit.sender.first()
        elif transport.is_closing():
            transport.read_all()
        elif visit.first is not None:
            if chance.random() < 0.5:  # else somebody else is faster
                first, visit.first = visit.first, None
                self._send(visit, first.data, first.frames)
        elif visit.left <= 0 or visit.client.code is not None:
            self._go(visit)
        elif not transport.reads:
            if chance.random() < 0.2:
                transport.reads = True
                transport.read_all()
        elif chance.random() < 0.02:
            transport.reads = False
        else:
            sent = [visit.sender.next() for _ in range(chance.choice((1, 1, 1, 2, 5)))]
            self._send(visit, b"".join(one.data for one in sent), sum(one.frames for one in sent))

    def _send(self, visit: Visit, data: bytes, frames: int) -> None:
        visit.left -= frames
        self.report.frames += frames
        self._say(visit, data)

    def _say(self, visit: Visit, data: bytes) -> None:
        """In one read of the gateway, or in several."""
        chance, transport = self._chance, visit.transport
        cuts = 0 if chance.random() < 0.7 else chance.randint(1, 4)
        places = sorted(chance.randint(0, len(data)) for _ in range(cuts))
        for start, end in zip([0, *places], [*places, len(data)], strict=True):
            if transport.is_closing():
                return
            if start < end:
                transport.receive(data[start:end])
        if transport.reads and not transport.is_lost:
            transport.read_all()

    def _go(self, visit: Visit) -> None:
        """With a close frame, an end of what it sends, or without a word."""
        match self._chance.randrange(3):
            case 0:
                self._say(visit, visit.sender._close().data)
                visit.transport.eof()
            case 1:
                visit.transport.eof()
            case _:
                visit.transport.abort()
        visit.transport.reads = True

    def _pass(self, seconds: float) -> None:
        end = self._clock.now + seconds
        while self._clock.now < end:
            self._clock.now = min(end, self._clock.now + 1.0)
            for timed in self._gateway._wheel.due(self._clock.now):
                timed.check(self._clock.now)

    async def _empty(self) -> None:
        """Everybody leaves, and then nothing is left of anybody."""
        for visit in list(self._visits):
            visit.transport.reads = True
            visit.transport.abort()
        for _ in range(SETTLE_ROUNDS):
            await asyncio.sleep(0)
            await self._gateway._cursors.settle()
            for visit in list(self._visits):
                if visit.transport.is_lost:
                    self._guarded(visit)
            if not self._visits and not self._held():
                return
        self.report.failures.append(f"left behind: {self._held()}, {len(self._visits)} visits")

    def _held(self) -> dict[str, Any]:
        gateway, stats = self._gateway, self._gateway.stats
        found: dict[str, Any] = {
            name: getattr(stats, name)
            for name in (
                *("sockets_open", "users_here", "sockets_behind"),
                *("handshakes_open", "tokens_awaited"),
            )
        } | {
            "connections": gateway._connections,
            "users": len(gateway._hub._sockets),
            "pages": len(gateway._feed._waiting),
            "repeats": len(gateway._repeats._waiting),
            "routes": len(gateway._routes._named),
            "timers": sum(len(slot or ()) for slot in gateway._wheel._slots),
        }
        return {name: count for name, count in found.items() if count}

    def _level(self) -> Level:
        gc.collect()
        traced = tracemalloc.get_traced_memory()[0]
        return Level(self.report.frames, len(gc.get_objects()), traced)

    def _note_exception(self, loop: object, context: dict[str, Any]) -> None:
        self.report.failures.append(f"in the loop: {context}")


def judge(report: Report) -> list[str]:
    """What went wrong."""
    failures = list(report.failures)
    if not failures:
        growth = report.growth()
        if growth.objects > GROWTH_OBJECTS_MAX:
            failures.append(f"{growth.objects} more objects than after the second part")
        if growth.traced_bytes > GROWTH_BYTES_MAX:
            failures.append(f"{growth.traced_bytes} more bytes than after the second part")
    return failures
