"""python -m scripts.chaos.recovery: whether a takeover is slower when more waits in the store.

A sender with a number of requests in flight is killed with `kill -9`, and another has to go on.
By turns 1,000 deliveries and 1,000,000 wait, each time in a store of its own.
"""

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import uvloop

from app.commands.process import raise_file_limit
from app.errors import CommandFailed
from scripts.chaos.bundled import BundledServer
from scripts.chaos.caller import Caller
from scripts.chaos.fleet import Fleet
from scripts.chaos.ledger import for_each
from scripts.chaos.plan import Role
from scripts.chaos.takeover import Stage, Target

COUNTS = {Role.API: 1, Role.FANOUT: 2, Role.SENDER: 1}
ENDPOINTS = 1_000
IN_FLIGHT = 500
FILL_MAX_S = 900.0
LOOK_EVERY_S = 0.5
EMPTY_LOOKS = 6
BAR = 1.2


@dataclass(frozen=True, slots=True)
class Recovery:
    """`in_flight` requests were cut off; `first_s` and `last_s` after the kill they came again."""

    waiting: int
    filled_s: float
    in_flight: int
    first_s: float
    last_s: float


@asynccontextmanager
async def _service(
    directory: Path, lease_s: float, held: int | None
) -> AsyncIterator[tuple[Stage, Caller]]:
    settings = {
        "allow_cidrs": "127.0.0.0/8",
        "author_rate_per_s": "0",  # all posts are of one
        "lease_s": f"{lease_s}",
        "request_deadline_s": "120",
        "host_in_flight_max": f"{IN_FLIGHT}",
        "in_flight_max": f"{2 * IN_FLIGHT}",  # the slow may have half of them
        "endpoint_in_flight_max": "1",
    }
    if held is not None:
        settings["held_max"] = f"{held}"
    async with (
        Target() as target,
        Fleet(
            directory, BundledServer(directory / "store"), settings, drain_s=1.0, counts=COUNTS
        ) as fleet,
        Caller(fleet.apis, fleet.admin_key, random.Random(1)) as caller,
    ):
        stage = Stage(fleet, caller, target, ENDPOINTS, each=1)
        await stage.introduce()
        yield stage, caller


async def measure_recovery(
    directory: Path, waiting: int, lease_s: float, held: int | None = None
) -> Recovery:
    """`held`: what a sender holds in memory at most, if not as usual. Raises CommandFailed when it
    does not come to it."""
    async with _service(directory, lease_s, held) as (stage, caller):
        target, fleet, loop = stage.target, stage.fleet, asyncio.get_running_loop()
        await fleet.remove("sender-1")  # it was there for the api, which asks whether posts move
        began = time.monotonic()
        await for_each(range(waiting // ENDPOINTS), lambda _: stage.post())
        await _until_fanned_out(caller)
        filled_s = time.monotonic() - began
        fleet.add("sender-1", Role.SENDER)
        await stage.until(lambda: target.in_flight >= IN_FLIGHT, "much in flight")
        # It asks for its share, and gets nothing before the first has finished or died.
        fleet.add("sender-2", Role.SENDER)
        await fleet.await_ready()
        killed_s, before = loop.time(), len(target.came)
        fleet.send("sender-1", signal.SIGKILL)
        await stage.until(lambda: bool(target.cut), "dying")
        again: dict[str, float] = {}

        def all_came_again() -> bool:
            for at_s, id_ in target.came[before:]:
                again.setdefault(id_, at_s)
            return len(target.cut) == IN_FLIGHT and target.cut <= again.keys()

        target.delay_s = 0.0  # so that those that were cut get their turn, wherever they wait
        await stage.until(all_came_again, "taking over")
        times = sorted(again[id_] for id_ in target.cut)
        return Recovery(
            waiting=waiting,
            filled_s=filled_s,
            in_flight=len(target.cut),
            first_s=times[0] - killed_s,
            last_s=times[-1] - killed_s,
        )


async def _until_fanned_out(caller: Caller) -> None:
    """What is told of the queues may be a moment old: several looks must agree."""
    empty = 0
    async with asyncio.timeout(FILL_MAX_S):
        while empty < EMPTY_LOOKS:
            await asyncio.sleep(LOOK_EVERY_S)
            empty = 0 if (await caller.get("/v1/stats"))["queues"]["posts"] else empty + 1


async def main(asked: argparse.Namespace) -> bool:
    raise_file_limit()
    found: dict[int, list[Recovery]] = {asked.few: [], asked.many: []}
    for _ in range(asked.rounds):
        for waiting, recoveries in found.items():
            with tempfile.TemporaryDirectory(prefix="moments-recovery-") as directory:
                one = await measure_recovery(Path(directory), waiting, asked.lease, asked.held)
            recoveries.append(one)
            print(
                f"{one.waiting:,} waiting (made in {one.filled_s:.1f} s), {one.in_flight} requests "
                f"cut off: the first came again after {one.first_s:.2f} s, the last after "
                f"{one.last_s:.2f} s",
                flush=True,
            )
    few, many = (median(one.last_s for one in found[n]) for n in (asked.few, asked.many))
    print(f"all came again, by the medians: {few:.2f} s and {many:.2f} s, ratio {many / few:.2f}")
    return many / few <= BAR


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m scripts.chaos.recovery")
    parser.add_argument("--few", type=int, default=1_000, help="deliveries that wait")
    parser.add_argument("--many", type=int, default=1_000_000, help="and how many, by turns")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--held", type=int, help="deliveries that a sender holds at most")
    parser.add_argument("--lease", type=float, default=2.0, help="seconds")
    try:
        sys.exit(0 if uvloop.run(main(parser.parse_args())) else 1)
    except CommandFailed as failure:
        sys.exit(f"recovery: {failure}")
