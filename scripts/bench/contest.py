"""Push servers side by side, each with a crowd of its own; posts go to one after the other."""

import asyncio
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.errors import CommandFailed
from scripts.bench.cpu import cpu_s, rss_bytes
from scripts.bench.crowd import Crowd, crowd_of
from scripts.bench.push_server import PAYLOAD, Kind, PushServer
from scripts.bench.row import Series

# Open before memory is looked at, and until it has been: they fill what the start has left free.
FIRST_SOCKETS: Final = 200
CALM_S: Final = 0.002  # no longer, since what is to be published has usually just been read
# Between two rounds of a server, at least. When 200 ms were silent, Linux acknowledges what comes
# next by that connection at once, sixteen times: on loopback in the time of whoever sends it, and
# for a third more than in a steady stream. So all rounds are alike, and like posts now and then.
SILENCE_S: Final = 0.3
# What a server does after the last frame is part of its cost: ours notes cursors 50 ms later.
AFTERWARDS_S: Final = 0.1
PUBLISH_MAX_S: Final = 30.0


@dataclass(slots=True)
class Contestant:
    """`idle_bytes`: memory of a socket to which nothing was sent yet; None where it tells nothing.
    `wire_bytes`: what the clients read for a delivery in the last round, with all framing."""

    name: str
    server: PushServer
    crowd: Crowd
    idle_bytes: float | None
    wire_bytes: float = 0.0
    _ended_at: float = 0.0  # its last round, in seconds

    async def play(self, posts: int) -> float:
        """So many posts at once to everybody; CPU microseconds for each delivery."""
        deliveries, read = posts * self.crowd.sockets, self.crowd.bytes_read
        await asyncio.sleep(SILENCE_S - (time.monotonic() - self._ended_at))
        await self.server.prepare(PAYLOAD, posts)
        await asyncio.sleep(CALM_S)
        before_s = cpu_s(self.server.pids)
        await self._publish()
        await self.crowd.receive(posts)
        self._ended_at = time.monotonic()
        await asyncio.sleep(AFTERWARDS_S)
        used_s = cpu_s(self.server.pids) - before_s
        self.wire_bytes = (self.crowd.bytes_read - read) / deliveries
        return used_s / deliveries * 1e6

    async def _publish(self) -> None:
        try:
            async with asyncio.timeout(PUBLISH_MAX_S):
                await self.server.publish()
        except (EOFError, ConnectionError, TimeoutError) as error:
            reason = str(error) or "no answer in time"
            raise CommandFailed(f"{self.name} does not take what is published: {reason}") from error


@asynccontextmanager
async def contest(kinds: Sequence[Kind], sockets: int) -> AsyncGenerator[list[Contestant]]:
    """All started, with so many sockets each. Raises CommandFailed when one does not start."""
    with tempfile.TemporaryDirectory(prefix="moments-bench-") as directory:
        async with AsyncExitStack() as open_:
            yield [await _enter(kind, sockets, Path(directory), open_) for kind in kinds]


async def _enter(kind: Kind, sockets: int, directory: Path, open_: AsyncExitStack) -> Contestant:
    server = await open_.enter_async_context(kind.start(directory))
    if not kind.has_sockets:
        crowd = await open_.enter_async_context(crowd_of(server, sockets, directory))
        return Contestant(kind.name, server, crowd, None)
    async with crowd_of(server, FIRST_SOCKETS, directory) as first:
        await _settle(server, first)
        before = rss_bytes(server.pids)
        crowd = await open_.enter_async_context(crowd_of(server, sockets, directory))
        await _settle(server, crowd)
        grown = rss_bytes(server.pids) - before
    await asyncio.sleep(AFTERWARDS_S)  # it has to notice that they are gone
    return Contestant(kind.name, server, crowd, grown / sockets)


async def _settle(server: PushServer, crowd: Crowd) -> None:
    if await server.settle():
        await crowd.answer_ping()
    await asyncio.sleep(AFTERWARDS_S)


async def take_turns(
    contestants: Sequence[Contestant], posts: int, rounds: int
) -> Mapping[str, Series]:
    """Of each what its rounds have cost, by name; its first one only warms it up."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for number in range(rounds + 1):
        for one in contestants:
            used_us = await one.play(posts)
            if number:
                found[one.name].append(used_us)
    return {name: Series(figures) for name, figures in found.items()}
