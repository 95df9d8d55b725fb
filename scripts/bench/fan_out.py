"""CPU and memory of the fan-out alone, for each recipient, and of the usual way with redis-py.

    python -m scripts.bench.fan_out [--rounds 5] [--json FILE]

Posts go to 1,000 friends each at an even rate; nobody sends or pushes. What is measured is the CPU
time of the fan-out worker and the store; the share of the api is told, and left out. Friends have
neither webhook nor socket in the first figure, and one webhook each in the second. The peers take
turns with the service. Memory is what the store has grown by, for each recipient of a post: inbox
and ledger, and the posts themselves.
"""

import argparse
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from app.domain.shard import SHARDS_DEFAULT
from app.store import keys
from scripts.bench.circles import draw_circles
from scripts.bench.command import run
from scripts.bench.plays import Found, Load, Play, by_process, middle, take_turns
from scripts.bench.row import Row
from scripts.bench.service_pipeline import NAME, ServicePipeline, open_service
from scripts.bench.store_growth import StoreGrowth
from scripts.bench.timelines import MANNERS, open_timelines
from scripts.load.groups import Group
from scripts.load.service import OwnService
from scripts.load.setting_up import register
from scripts.load.watch import scrape

SOURCE = "python -m scripts.bench.fan_out"
ROUNDS, ROUNDS_MAX = 5, 7  # with more, inboxes would be trimmed, and memory would not grow
CPU_US, MEMORY_BYTES = 7.0, 60.0  # the bars
BARE, WEBHOOKS, MEMORY = "fan-out", "fan-out-webhooks", "inbox-memory"
_WHAT: Final = {
    BARE: "fan-out alone, CPU per recipient",
    WEBHOOKS: "the same, recipients with one webhook each",
    MEMORY: "inbox and ledger, memory per recipient of a post",
}
_NOWHERE = "http://127.0.0.1:1024/hook"  # nobody sends anything
_RECIPIENTS: Final = re.compile(rb"^moments_recipients_total (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Sizes:
    """`friends` of each author, who have all of them the same."""

    friends: int
    authors: int
    load: Load
    warm_up: Load


FULL = Sizes(friends=1_000, authors=10, load=Load(100, 2.5), warm_up=Load(4))


@dataclass(frozen=True, slots=True)
class _Half:
    """One of the two figures: what it took, and by system, bytes for each recipient."""

    found: Found
    grown: Mapping[str, float]


async def measure(
    rounds: int = ROUNDS, manners: Sequence[str] = tuple(MANNERS), sizes: Sizes = FULL
) -> list[Row]:
    """Prints the CPU by process. Raises CommandFailed when somebody was left out."""
    with tempfile.TemporaryDirectory(prefix="moments-bench-") as folder:
        directory, lists = Path(folder), [one for one in manners if one != "jobs"]
        bare = await _half(directory / BARE, BARE, lists, sizes, rounds)
        jobs = [one for one in manners if one == "jobs"]
        webhooks = await _half(directory / WEBHOOKS, WEBHOOKS, jobs, sizes, rounds)
    print("CPU by process, µs per recipient:")
    print(by_process({**bare.found, **webhooks.found}))
    print("growth of the store, bytes per recipient, queues left out:")
    for row, half in ((BARE, bare), (WEBHOOKS, webhooks)):
        shown = (f"{name} {grown:.1f}" for name, grown in half.grown.items())
        print(f"  {row}: {', '.join(shown)}", flush=True)
    # The ledger of recipients with a webhook is the larger one: it names their endpoints.
    ours, peers = webhooks.grown[NAME], _of_peers(bare.grown)
    memory = Row(MEMORY, _WHAT[MEMORY], ours, "B", SOURCE, bar=MEMORY_BYTES, peers=peers)
    return [_cpu(BARE, bare), _cpu(WEBHOOKS, webhooks), memory]


async def _half(
    directory: Path, row: str, manners: Sequence[str], sizes: Sizes, rounds: int
) -> _Half:
    group = Group.HEALTHY
    workload = draw_circles(sizes.friends, sizes.authors, sizes.friends, group, "friend")
    async with AsyncExitStack() as open_:
        service = await open_service(open_, directory, workload, gateways=0, roles=("fanout",))
        if row == WEBHOOKS:
            await register(service.caller, workload, {group: [_NOWHERE]}, lambda _: None)
        fanned_out = partial(_fanned_out, service.own)
        ours = ServicePipeline(service, workload, fanned_out, queues=("posts",))
        waiting = [keys.deliveries(shard) for shard in range(SHARDS_DEFAULT)]
        systems = [StoreGrowth(ours, service.own.store_url, waiting)]
        for manner in manners:
            timelines = await open_timelines(open_, directory, workload, manner)
            systems.append(StoreGrowth(timelines, timelines.store.url, [b"jobs"]))
        for system in systems:
            await system.system.play(sizes.warm_up)
        found = await take_turns([Play(row, one, sizes.load) for one in systems], rounds)
        return _Half(found, {one.name: median(one.grown) for one in systems})


async def _fanned_out(service: OwnService) -> int:
    """Recipients so far, as the worker counts them."""
    [port] = service.workers()
    counted = _RECIPIENTS.search(await scrape(port))
    return round(float(counted[1])) if counted else 0


def _cpu(name: str, half: _Half) -> Row:
    middle_us = {of: middle(plays, without="api") for (_, of), plays in half.found.items()}
    peers = _of_peers(middle_us)
    return Row(name, _WHAT[name], middle_us[NAME], "µs", SOURCE, bar=CPU_US, peers=peers)


def _of_peers(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: figure for name, figure in figures.items() if name != NAME}


def main() -> None:
    options = argparse.ArgumentParser(prog=SOURCE, description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rounds", type=int, default=ROUNDS, choices=range(1, ROUNDS_MAX + 1))
    options.add_argument("--json", type=Path, metavar="FILE")
    asked = options.parse_args()
    run(measure(asked.rounds), asked.json)


if __name__ == "__main__":
    main()
