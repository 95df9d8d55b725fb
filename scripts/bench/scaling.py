"""Whether a delivery costs the same whatever the size: of circles, of crowds, of queues.

    python -m scripts.bench.scaling [circles] [sockets] [workers] [gateways] [--plot FILE]

CPU is that of all processes of the service but the api, which does the same for a post whoever gets
it, for each delivery; median of the rounds. Queues are the load test's: see `load_test.py backlog`.
"""

import argparse
import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from app.commands.process import raise_file_limit
from scripts.bench.circles import draw_circles
from scripts.bench.cores import on_one_core
from scripts.bench.plays import Load, Spent, middle
from scripts.bench.plot import plot
from scripts.bench.process_tree import trees_cpu_s
from scripts.bench.row import Row
from scripts.bench.service_pipeline import RunningService, ServicePipeline, open_service
from scripts.load.groups import Group
from scripts.load.load_process import LoadProcess
from scripts.load.processes import descendants
from scripts.load.setting_up import befriend, register, tokens
from scripts.load.stage import AT_ONCE, sources
from scripts.load.workload import Workload

SOURCE = "python -m scripts.bench.scaling"
BAR = 1.2
ROUNDS = 5
_NET = 60
_HOSTS = 200


@dataclass(frozen=True, slots=True)
class Point:
    """What a delivery cost at a size, in CPU microseconds; `api_us` is left out of `us`."""

    size: int
    us: float
    api_us: float


@dataclass(frozen=True, slots=True)
class Series:
    """`beside`: what says why the largest costs what it does, in the same microseconds."""

    points: Sequence[Point]
    beside: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Sizes:
    """`deliveries`: in each round, at every size. `audience` of `people`: with several workers, and
    with several gateways."""

    friends: Sequence[int]
    sockets: Sequence[int]
    deliveries: int
    of_sockets: int = 100
    people: int = 2_000
    audience: int = 1_000
    rounds: int = ROUNDS
    seconds: float = 4.0
    idle_s: float = 20.0  # nearly as long as it takes to ping every socket once


FULL = Sizes(friends=(10, 100, 1_000, 10_000), sockets=(100, 1_000, 10_000, 18_000),
             deliveries=20_000)  # fmt: skip


def _people(group: Group, count: int, friends: int, authors: int, prefix: str) -> Workload:
    """Authors of their own for each size, the people always the same."""
    drawn = draw_circles(count, authors, friends, group, prefix)
    return replace(drawn, people=tuple(f"person-{number}" for number in range(count)))


async def _played(
    service: RunningService,
    workload: Workload,
    arrived: Callable[[], Awaitable[int]],
    of: Sizes,
    seconds: float = 0.0,
) -> Point:
    friends = len(workload.authors[0].friends)
    load = Load(max(1, of.deliveries // friends), seconds)
    ours = ServicePipeline(service, workload, arrived)
    await ours.play(load)  # so that connections are open, and endpoints known
    plays = [await ours.play(load) for _ in range(of.rounds)]
    return _point(friends, plays)


def _point(size: int, plays: Sequence[Spent]) -> Point:
    us = middle(plays, without="api")
    return Point(size, us, middle(plays) - us)


class _Receivers:
    """Where webhooks go, and how many have come."""

    def __init__(self, process: LoadProcess) -> None:
        self._process = process
        self.urls: Sequence[str] = ()

    async def open(self, net: int) -> None:
        order = {"group": "scaling", "net": net, "hosts": _HOSTS, "ports": 1, "certificate": None}
        self.urls = (await self._process.ask("open", **order))["urls"]

    async def arrived(self) -> int:
        return (await self._process.ask("count"))["scaling"]["accepted"]


async def circles(directory: Path, of: Sizes) -> Series:
    """By webhook, from posts to few and to many."""
    people = max(of.friends)
    async with AsyncExitStack() as open_:
        receivers = await _receivers(open_, directory)
        first, *more = [
            _people(Group.HEALTHY, people, size, min(10, people // size), f"of-{size}")
            for size in of.friends
        ]
        service = await open_service(open_, directory / "service", first)
        await register(service.caller, first, {Group.HEALTHY: receivers.urls}, _ignore)
        for workload in more:
            await befriend(service.caller, workload, _ignore)
        every = (first, *more)
        return Series([await _played(service, one, receivers.arrived, of) for one in every])


async def sockets(directory: Path, of: Sizes) -> Series:
    """By socket, with ever more of them open; a post goes to 100. Evenly: of posts made at once
    many would come to the same socket where there are few, and share a write."""
    found: list[Point] = []
    idle_us = 0.0
    async with AsyncExitStack() as open_:
        crowd = await _crowd(open_, directory)
        first, *more = [
            _people(Group.SOCKET, size, of.of_sockets, min(50, size), f"of-{size}")
            for size in of.sockets
        ]
        service = await open_service(open_, directory / "service", first)
        opened = 0
        for workload in (first, *more):
            if workload is not first:
                await befriend(service.caller, workload, _ignore)
            await _open(service, crowd, workload.people[opened:])
            opened = len(workload.people)
            point = await _played(service, workload, _frames(crowd), of, of.seconds)
            found.append(replace(point, size=opened))
        idle_us = await _idle(service, of)
    return Series(found, {"of these, while nothing is delivered": idle_us})


async def _idle(service: RunningService, of: Sizes) -> float:
    """What is used anyway, pings above all, for each delivery of the rate that was measured."""
    before_s = trees_cpu_s(service.own.pids())
    await asyncio.sleep(of.idle_s)
    after_s = trees_cpu_s(service.own.pids())
    used_s = sum(after_s[name] - before_s[name] for name in before_s if name != "api")
    return used_s / of.idle_s / (of.deliveries / of.seconds) * 1e6


async def workers(directory: Path, of: Sizes) -> Series:
    """By webhook, with one worker and with two; and with one that shares its core with all others,
    as two have to where there are no more cores than that."""
    workload = _people(Group.HEALTHY, of.people, of.audience, 10, "author")
    async with AsyncExitStack() as open_:
        receivers = await _receivers(open_, directory)
        service = await open_service(open_, directory / "service", workload)
        await register(service.caller, workload, {Group.HEALTHY: receivers.urls}, _ignore)
        one = await _played(service, workload, receivers.arrived, of)
        with on_one_core(descendants([os.getpid()]).values()):
            crowded = await _played(service, workload, receivers.arrived, of)
        await service.own.start("worker-2")
        two = await _played(service, workload, receivers.arrived, of)
        points = [replace(one, size=1), replace(two, size=2)]
        return Series(points, {"one worker, everything on one core": crowded.us})


async def gateways(directory: Path, of: Sizes) -> Series:
    """By socket, with one gateway and with two."""
    found: list[Point] = []
    for count in (1, 2):
        workload = _people(Group.SOCKET, of.people, of.audience, 10, "author")
        async with AsyncExitStack() as open_:
            folder = directory / f"of-{count}"
            folder.mkdir()
            crowd = await _crowd(open_, folder)
            service = await open_service(open_, folder / "service", workload, gateways=count)
            await _open(service, crowd, workload.people)
            point = await _played(service, workload, _frames(crowd), of)
            found.append(replace(point, size=count))
    return Series(found)


async def _receivers(open_: AsyncExitStack, directory: Path) -> _Receivers:
    process = LoadProcess("receivers", directory, _ignore)
    receivers = _Receivers(await open_.enter_async_context(process))
    await receivers.open(_NET)
    return receivers


async def _crowd(open_: AsyncExitStack, directory: Path) -> LoadProcess:
    return await open_.enter_async_context(LoadProcess("sockets", directory, _ignore))


async def _open(service: RunningService, crowd: LoadProcess, people: Sequence[str]) -> None:
    made = await tokens(service.caller, people, service.own.token_secret, _ignore)
    urls = service.own.gateways
    for number, url in enumerate(urls):
        share = made[number :: len(urls)]
        order = {"url": url, "sources": sources(url, len(share)), "tokens": share}
        await crowd.ask("open", **order, at_once=AT_ONCE)


def _frames(crowd: LoadProcess) -> Callable[[], Awaitable[int]]:
    async def frames() -> int:
        return (await crowd.ask("count"))["frames"]

    return frames


def _ignore(_: object) -> None:
    """Neither progress is shown nor latencies."""


Measure = Callable[[Path, Sizes], Awaitable[Series]]
SERIES: Final[Mapping[str, tuple[str, str, Measure]]] = {
    "circles": ("friends of the author, by webhook", "friends", circles),
    "sockets": ("open sockets, posts to 100 of them", "sockets", sockets),
    "workers": ("workers, by webhook", "workers", workers),
    "gateways": ("gateways, by socket", "gateways", gateways),
}


async def measure(
    names: Sequence[str] = tuple(SERIES), of: Sizes = FULL, drawn: Path | None = None
) -> list[Row]:
    """The largest size of each series against the smallest. Prints all points."""
    raise_file_limit()
    rows: list[Row] = []
    found: dict[str, Sequence[Point]] = {}
    for name in names:
        what, unit, measured = SERIES[name]
        with tempfile.TemporaryDirectory(prefix="moments-bench-") as folder:
            series = await measured(Path(folder), of)
        points = series.points
        found[f"{what} ({unit})"] = points
        for point in points:
            print(f"{name}: {point.size:,} {unit}: {point.us:.2f} µs, and api {point.api_us:.2f}")
        first, last = points[0], points[-1]
        rows.append(
            Row(
                name=f"scaling-{name}",
                what=f"cost of a delivery with {last.size:,} {unit}, against {first.size:,}",
                value=last.us,
                unit="µs",
                source=f"{SOURCE} {name}",
                bar=BAR,
                baseline=first.us,
                peers=series.beside,
            )
        )
    if drawn is not None:
        _draw(found, drawn)
    return rows


def _draw(found: Mapping[str, Sequence[Point]], to: Path) -> None:
    lines = {what: [(p.size, p.us) for p in points] for what, points in found.items()}
    to.write_text(plot("CPU of a delivery, api left out, µs", lines))


def main() -> None:
    from scripts.bench.command import run

    options = argparse.ArgumentParser(prog=SOURCE, description=(__doc__ or "").splitlines()[0])
    options.add_argument("series", nargs="*", choices=[*SERIES, []])
    options.add_argument("--plot", type=Path, metavar="SVG")
    options.add_argument("--json", type=Path, metavar="FILE")
    asked = options.parse_args()
    run(measure(asked.series or tuple(SERIES), drawn=asked.plot), asked.json)


if __name__ == "__main__":
    main()
