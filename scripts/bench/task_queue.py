"""Task queues as peers: one task for each recipient of a post, workers that send the webhooks.

Each has a store of its own, set up as the service's, on a Unix socket, and sends to receivers as
the service does. What it is made of is in `peers/`: a producer that puts tasks into the queue, and
the workers. Where there was a choice, it is the cheaper one: no results are kept, little is logged,
connections stay open for longer than by default. Who gets a post is known to the producer without
asking.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, cast

import redis.asyncio

from app.errors import CommandFailed
from app.store.embedded import EmbeddedServer
from scripts.bench.peer_process import VENV, PeerProcess, why_missing
from scripts.bench.plays import Load, Spent, spent
from scripts.bench.process_tree import trees_cpu_s
from scripts.bench.service_pipeline import LEAD_US, Count, until_all
from scripts.load.orders import now_us
from scripts.load.workload import Workload

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

Waiting = Callable[["redis.asyncio.Redis"], Awaitable[int]]


async def _taskiq_waiting(store: "redis.asyncio.Redis") -> int:
    """Tasks not read, or read and not acknowledged."""
    groups = await store.xinfo_groups("taskiq")
    return sum(int(group["pending"]) + int(group["lag"] or 0) for group in groups)


async def _celery_waiting(store: "redis.asyncio.Redis") -> int:
    waiting = await cast(Any, store.llen("celery"))
    return int(waiting + await cast(Any, store.hlen("unacked")))


@dataclass(frozen=True, slots=True)
class Kind:
    """`worker`: the command, by its name in the environment of the peers. `scheme`: of the address
    of a store on a Unix socket."""

    name: str
    what: str
    module: str
    worker: tuple[str, ...]
    scheme: str
    waiting: Waiting

    def why_missing(self) -> str | None:
        return why_missing(self.worker[0])


KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind(
            "taskiq",
            "taskiq-redis + aiohttp",
            "taskiq_sender",
            ("taskiq", "worker", "taskiq_sender:broker", "--log-level", "WARNING"),
            "unix",
            _taskiq_waiting,
        ),
        Kind(
            "celery",
            "celery + requests",
            "celery_sender",
            ("celery", "-A", "celery_sender", "worker", "-c", "4", "-l", "WARNING"),
            "redis+socket",
            _celery_waiting,
        ),
    )
}


class TaskQueue:
    """`async with TaskQueue(...)`. `urls` are the recipients' in their order, one for each;
    `arrived` counts what its receivers have accepted."""

    def __init__(
        self, kind: Kind, directory: Path, workload: Workload, urls: Sequence[str], arrived: Count
    ) -> None:
        self.name = kind.what
        self._kind = kind
        self._directory = directory / kind.name
        self._workload = workload
        self._urls = urls
        self._audiences = self._directory / "audiences.json"
        self._arrived = arrived
        self._store = EmbeddedServer(self._directory / "data")
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Raises CommandFailed when it is not installed."""
        if (missing := self._kind.why_missing()) is not None:
            raise CommandFailed(f"{self.name} is not installed: {missing}")
        self._write_audiences()
        async with AsyncExitStack() as open_:
            open_.callback(self._store.stop)
            await asyncio.to_thread(self._store.start)
            self._client = redis.asyncio.Redis.from_url(self._store.url)
            open_.push_async_callback(self._client.aclose)
            program = str(VENV / "bin" / "python")
            self._producer = await open_.enter_async_context(
                self._process("producer", (program, f"{self._kind.module}.py"))
            )
            command, *rest = self._kind.worker
            self._workers = await open_.enter_async_context(
                self._process("workers", (str(VENV / "bin" / command), *rest))
            )
            self._open = open_.pop_all()
        return self

    def _write_audiences(self) -> None:
        self._directory.mkdir()
        recipients = [[url, SECRET] for url in self._urls]
        circles = [author.friends for author in self._workload.authors]
        self._audiences.write_text(json.dumps({"recipients": recipients, "circles": circles}))

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    def _process(self, name: str, command: Sequence[str]) -> PeerProcess:
        address = self._store.url.replace("unix", self._kind.scheme, 1)
        audiences = str(self._audiences)
        return PeerProcess(
            name, command, self._directory, BENCH_STORE=address, BENCH_AUDIENCES=audiences
        )

    async def play(self, load: Load) -> Spent:
        authors = self._workload.authors
        deliveries = load.posts * len(authors[0].friends)
        due = await self._arrived() + deliveries
        before_s = trees_cpu_s(self._pids())
        turns = zip(load.arrivals_us(), load.authors(len(authors)), strict=True)
        await self._producer.ask(begin_us=now_us() + LEAD_US, arrivals=list(turns))
        await until_all(self._arrived, due)
        await until_all(self._idle, 1)
        return spent(before_s, trees_cpu_s(self._pids()), deliveries)

    def _pids(self) -> dict[str, int]:
        assert self._store.pid is not None
        return {
            "store": self._store.pid,
            "producer": self._producer.pid,
            "workers": self._workers.pid,
        }

    async def _idle(self) -> int:
        """1 when nothing waits any more."""
        return 0 if await self._kind.waiting(self._client) else 1
