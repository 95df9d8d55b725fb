"""Looks at everything once a second: CPU, memory, queues, what has come, what workers count."""

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from scripts.load.caller import Caller
from scripts.load.load_process import LoadProcess
from scripts.load.orders import now_us
from scripts.load.processes import Usage, usage
from scripts.load.service import HOST, Service

EVERY_S = 1.0
SCRAPE_MAX_S = 2.0

# What is kept of a worker's metrics, by what it is called here.
_METRICS: Final = {
    "moments_attempts_total": "attempts",
    "moments_retries_moved_total": "retries_moved",
    "moments_deferred_total": "deferred",
    "moments_connections_made_total": "connections_made",
    "moments_connections_reused_total": "connections_reused",
    "moments_attempts_slow": "attempts_slow",
    "moments_attempts_open": "attempts_open",
    "moments_deliveries_waiting": "deliveries_waiting",
    "moments_breakers_open": "breakers_open",
}
_LINE: Final = re.compile(rb"^(moments_\w+)(?:\{\w+=\"(\w+)\"\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Look:
    """`usage` is of the service's processes, `ours` of the load processes; `groups` is what the
    receivers have counted."""

    at_us: int
    usage: Mapping[str, Usage]
    ours: Mapping[str, Usage]
    queues: Mapping[str, int]
    posts: int
    frames: int
    groups: Mapping[str, Mapping[str, int]]
    sockets: Mapping[str, object]
    metrics: Mapping[str, float]

    @property
    def deliveries(self) -> int:
        """Webhooks accepted and frames that have come."""
        return self.frames + self.counted("accepted")

    def counted(self, what: str) -> int:
        return sum(counts[what] for counts in self.groups.values())

    @property
    def cpu_s(self) -> dict[str, float]:
        return {name: used.cpu_s for name, used in self.usage.items()}


class Watch:
    """`looks` are all so far. One look at a time."""

    def __init__(
        self,
        service: Service,
        caller: Caller,
        *,
        poster: LoadProcess,
        receivers: LoadProcess,
        sockets: LoadProcess,
    ) -> None:
        self.looks: list[Look] = []
        self._service = service
        self._caller = caller
        self._poster = poster
        self._receivers = receivers
        self._sockets = sockets
        self._turn = asyncio.Lock()
        self._told: dict[int, dict[str, float]] = {}  # by worker, when it was last heard

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(EVERY_S)

    async def look(self) -> Look:
        """Everything noted before has been told when this returns."""
        async with self._turn:
            posts, groups, sockets, queues, metrics = await asyncio.gather(
                self._poster.ask("count"),
                self._receivers.ask("count"),
                self._sockets.ask("count"),
                self._queues(),
                self._metrics(),
            )
            look = Look(
                at_us=now_us(),
                usage=_usages(self._service.pids()),
                ours=_usages({one.name: one.pid for one in self._load_processes()}),
                queues=queues,
                posts=posts["posts"],
                frames=sockets["frames"],
                groups=groups,
                sockets=sockets,
                metrics=metrics,
            )
            self.looks.append(look)
            return look

    def _load_processes(self) -> tuple[LoadProcess, ...]:
        return self._poster, self._receivers, self._sockets

    async def _queues(self) -> dict[str, int]:
        """Empty when the api does not say, as when it is overloaded."""
        try:
            status, body = await self._caller.call("GET", "/v1/stats")
        except (OSError, TimeoutError):
            return {}
        return json.loads(body)["queues"] if status == 200 else {}

    async def _metrics(self) -> dict[str, float]:
        """The sums of all workers; what is labelled stands there by label too. One that is too busy
        to tell counts as it did before."""
        ports = self._service.workers()
        heard = dict(zip(ports, await asyncio.gather(*map(scrape, ports)), strict=True))
        self._told = {
            port: read_metrics(text) if text else self._told.get(port, {})
            for port, text in heard.items()
        }
        sums: defaultdict[str, float] = defaultdict(float)
        for told in self._told.values():
            for name, value in told.items():
                sums[name] += value
        return dict(sums)


def read_metrics(text: bytes) -> dict[str, float]:
    found: defaultdict[str, float] = defaultdict(float)
    for name, label, value in _LINE.findall(text):
        short = _METRICS.get(name.decode())
        if short is not None:
            found[short] += float(value)
            if label:
                found[f"{short}.{label.decode()}"] += float(value)
    return dict(found)


async def scrape(port: int) -> bytes:
    """Nothing when it does not answer in time."""
    try:
        async with asyncio.timeout(SCRAPE_MAX_S):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(b"GET /metrics HTTP/1.1\r\nhost: worker\r\nconnection: close\r\n\r\n")
                return await reader.read(-1)
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return b""


def _usages(pids: Mapping[str, int]) -> dict[str, Usage]:
    found = {name: usage(pid) for name, pid in pids.items()}
    return {name: used for name, used in found.items() if used is not None}
