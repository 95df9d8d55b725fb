"""CPU of one delivery through the whole service, all its processes together, and through others.

    python -m scripts.bench.pipeline [--rounds 5] [--peers taskiq,celery] [--json FILE]

Posts go to 1,000 friends each: evenly, at a rate that the machine carries, and many at once. The
friends have a webhook each (plain HTTP, connections kept), or an open socket. What is measured is
the CPU time of api, gateway, worker and store, from before the first post until everything has
been received and recorded; who posts and who receives is left out. The peers send the same
webhooks in turns with the service, fewer of them, since they need so much longer.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from scripts.bench.circles import draw_circles
from scripts.bench.command import run
from scripts.bench.plays import Found, Load, Play, System, by_process, middle, take_turns
from scripts.bench.row import Row
from scripts.bench.service_pipeline import NAME, Count, ServicePipeline, open_service
from scripts.bench.store_memory import bytes_of_a_field
from scripts.bench.task_queue import KINDS, Kind, TaskQueue
from scripts.load.groups import Group
from scripts.load.load_process import LoadProcess
from scripts.load.setting_up import register, tokens
from scripts.load.stage import AT_ONCE, sources
from scripts.load.workload import Workload

SOURCE = "python -m scripts.bench.pipeline"
ROUNDS = 5
WEBHOOK_US, SOCKET_US = 50.0, 18.0  # the bars
_NET = 40  # the receivers' addresses: 127.40.0.1 and so on, each system's in a net of its own

WEBHOOK, WEBHOOK_BURST = "pipeline-webhook", "pipeline-webhook-burst"
SOCKET, SOCKET_BURST = "pipeline-socket", "pipeline-socket-burst"
OUTCOME = "pipeline-outcome-memory"
_WHAT: Mapping[str, tuple[str, float]] = {
    WEBHOOK: ("post → webhook, 3,000 a second, all processes, CPU per delivery", WEBHOOK_US),
    WEBHOOK_BURST: ("the same, many posts at once", WEBHOOK_US),
    SOCKET: ("post → socket, 10,000 a second, all processes, CPU per delivery", SOCKET_US),
    SOCKET_BURST: ("the same, many posts at once", SOCKET_US),
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """Loads are of posts to `friends` people."""

    people: int
    friends: int
    authors: int
    hosts: int
    even: Load
    socket_even: Load
    burst: Load
    peer_even: Load
    peer_burst: Load

    def circles(self, group: Group) -> Workload:
        return draw_circles(self.people, self.authors, self.friends, group, group.value)

    def even_of(self, system: System) -> Load:
        return self.even if system.name == NAME else self.peer_even

    def burst_of(self, system: System) -> Load:
        return self.burst if system.name == NAME else self.peer_burst


# 3,000 deliveries a second by webhook, 10,000 by socket, 20,000 at once; peers get 333 and 2,000.
FULL = Sizes(
    people=2_000,
    friends=1_000,
    authors=10,
    hosts=200,
    even=Load(12, 4.0),
    socket_even=Load(40, 4.0),
    burst=Load(20),
    peer_even=Load(2, 6.0),
    peer_burst=Load(2),
)


async def measure(
    rounds: int = ROUNDS, peers: Sequence[str] = tuple(KINDS), sizes: Sizes = FULL
) -> list[Row]:
    """Prints the CPU by process. Raises CommandFailed when something did not arrive."""
    kinds = [KINDS[peer] for peer in peers]
    missing_ones = {kind.what: why for kind in kinds if (why := kind.why_missing())}
    with tempfile.TemporaryDirectory(prefix="moments-bench-") as folder:
        present = [kind for kind in kinds if kind.what not in missing_ones]
        webhooks, outcome_bytes = await _webhooks(Path(folder), present, sizes, rounds)
        sockets = await _sockets(Path(folder), sizes, rounds)
    print("CPU by process, µs per delivery:")
    print(by_process({**webhooks, **sockets}), flush=True)
    return [
        *(_row(name, webhooks, missing_ones) for name in (WEBHOOK, WEBHOOK_BURST)),
        *(_row(name, sockets, {}) for name in (SOCKET, SOCKET_BURST)),
        Row(OUTCOME, "outcome of a webhook, memory", outcome_bytes, "B", SOURCE),
    ]


async def _webhooks(
    directory: Path, kinds: Sequence[Kind], sizes: Sizes, rounds: int
) -> tuple[Found, float]:
    """And the bytes that an outcome takes in the store."""
    workload = sizes.circles(Group.HEALTHY)
    async with AsyncExitStack() as open_:
        receivers = LoadProcess("receivers", directory, _ignore)
        await open_.enter_async_context(receivers)
        service = await open_service(open_, directory / "webhooks", workload)
        urls = await _listen(receivers, NAME, sizes.hosts, _NET)
        await register(service.caller, workload, {Group.HEALTHY: urls}, _ignore)
        systems: list[System] = [ServicePipeline(service, workload, _accepted(receivers, NAME))]
        for net, kind in enumerate(kinds, _NET + 1):
            urls = await _listen(receivers, kind.name, sizes.hosts, net)
            of_each = list(islice(cycle(urls), sizes.people))
            arrived = _accepted(receivers, kind.name)
            queue = TaskQueue(kind, directory, workload, of_each, arrived)
            systems.append(await open_.enter_async_context(queue))
        for system in systems:  # so that connections are open
            await system.play(sizes.burst_of(system))
        found = await take_turns(
            [
                *(Play(WEBHOOK, one, sizes.even_of(one)) for one in systems),
                *(Play(WEBHOOK_BURST, one, sizes.burst_of(one)) for one in systems),
            ],
            rounds,
        )
        return found, await bytes_of_a_field(service.own.store_url, "outcomes:*")


async def _sockets(directory: Path, sizes: Sizes, rounds: int) -> Found:
    workload = sizes.circles(Group.SOCKET)
    async with AsyncExitStack() as open_:
        sockets = LoadProcess("sockets", directory, _ignore)
        await open_.enter_async_context(sockets)

        async def arrived() -> int:
            return (await sockets.ask("count"))["frames"]

        service = await open_service(open_, directory / "sockets", workload)
        people, secret = workload.people, service.own.token_secret
        made = await tokens(service.caller, people, secret, _ignore)
        [url] = service.own.gateways
        order = {"url": url, "sources": sources(url, len(people)), "tokens": made}
        await sockets.ask("open", **order, at_once=AT_ONCE)
        ours = ServicePipeline(service, workload, arrived)
        await ours.play(sizes.burst)
        plays = [Play(SOCKET, ours, sizes.socket_even), Play(SOCKET_BURST, ours, sizes.burst)]
        return await take_turns(plays, rounds)


async def _listen(receivers: LoadProcess, group: str, hosts: int, net: int) -> list[str]:
    order = {"group": group, "net": net, "hosts": hosts, "ports": 1, "certificate": None}
    return (await receivers.ask("open", **order))["urls"]


def _accepted(receivers: LoadProcess, group: str) -> Count:
    async def accepted() -> int:
        return (await receivers.ask("count"))[group]["accepted"]

    return accepted


def _ignore(_: object) -> None:
    """Neither progress is shown nor latencies."""


def _row(name: str, found: Found, missing_ones: Mapping[str, str]) -> Row:
    what, bar_us = _WHAT[name]
    middle_us = {of: middle(plays) for (row, of), plays in found.items() if row == name}
    ours_us = middle_us.pop(NAME)
    peers = {**middle_us, **missing_ones}
    return Row(name, what, ours_us, "µs", SOURCE, bar=bar_us, peers=peers)


def main() -> None:
    options = argparse.ArgumentParser(prog=SOURCE, description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rounds", type=int, default=ROUNDS)
    options.add_argument("--peers", default=",".join(KINDS), help="separated by commas")
    options.add_argument("--json", type=Path, metavar="FILE")
    asked = options.parse_args()
    peers = [peer for peer in asked.peers.split(",") if peer]
    if unknown := set(peers) - set(KINDS):
        options.error(f"no such peers: {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    run(measure(asked.rounds, peers), asked.json)


if __name__ == "__main__":
    main()
