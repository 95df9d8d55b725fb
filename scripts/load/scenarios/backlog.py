"""Many deliveries wait for a sender: what each costs, against a queue that is nearly empty."""

import asyncio
import time
from collections.abc import Callable, Sequence

from app.errors import CommandFailed
from scripts.load.arrivals import amounting_to
from scripts.load.groups import ALL_WEBHOOKS, OWED
from scripts.load.results import Finding, Phase, cpu_us_per_delivery
from scripts.load.scenarios.scenario import Scenario
from scripts.load.scenarios.steady import complete
from scripts.load.stage import Stage
from scripts.load.watch import Look

SMALL = 50_000  # deliveries: the empty queue, and how many of the full one are measured
FILL_PER_S = 10_000.0
FAN_OUT_MAX_S = 600.0
DRAIN_MAX_S = 1_800.0
LOOK_EVERY_S = 0.5
BAR = 1.2


async def play(stage: Stage) -> Sequence[Finding]:
    own, count = stage.own, stage.options.count
    small = min(SMALL, count)
    await own.start("fanout", "fanout", "janitor")
    costs: list[float] = []
    rates: list[float] = []
    for waiting in (small, count):
        phase = await _fill(stage, waiting)
        before, after, took_s = await _drain(stage, phase, small)
        costs.append(sum(cpu_us_per_delivery(before, after).values()))
        rates.append(phase.expected.total() / took_s)
        await own.stop("sender")
    return [
        Finding(
            f"CPU of a delivery with {count:,} waiting, against {small:,}",
            costs[1],
            "µs",
            baseline=costs[0],
            bar=BAR,
        ),
        Finding(f"deliveries per second, from {count:,} to none", rates[1], "1/s"),
        Finding(f"deliveries per second, from {small:,} to none", rates[0], "1/s"),
        *complete(stage),
    ]


async def _fill(stage: Stage, count: int) -> Phase:
    """Posts that make so many deliveries are accepted and fanned out; nobody sends."""
    seconds = max(1.0, count / FILL_PER_S)
    posts = amounting_to(stage.random, stage.workload, count, seconds)
    phase = await stage.load(f"fill {count:,}", seconds, 0.0, extra=posts, is_measured=False)

    def is_fanned_out(look: Look) -> bool:
        return look.queues.get("posts") == 0

    await _until(stage, "wait for the fan-out", is_fanned_out, FAN_OUT_MAX_S)
    return phase


async def _drain(stage: Stage, phase: Phase, measured: int) -> tuple[Look, Look, float]:
    """Sends all of it. The looks are those before and after the first `measured` deliveries that
    are sent by a sender that is ready."""
    began = time.monotonic()
    already = stage.watch.looks[-1].deliveries
    await stage.own.start("sender", "sender")
    before = await stage.look()
    enough = min(measured, phase.expected.total() - (before.deliveries - already)) * 0.8

    def is_enough(look: Look) -> bool:
        return look.deliveries - before.deliveries >= enough

    after = await _until(stage, f"send {measured:,}", is_enough, DRAIN_MAX_S)
    await _until(stage, "send the rest", lambda _: not stage.missing(phase, OWED), DRAIN_MAX_S)
    return before, after, time.monotonic() - began


async def _until(stage: Stage, what: str, is_over: Callable[[Look], bool], limit_s: float) -> Look:
    """The first look for which it is true. Raises CommandFailed after the limit."""
    deadline = time.monotonic() + limit_s
    with stage.display.step(what):
        while not is_over(look := await stage.look()):
            if time.monotonic() > deadline:
                raise CommandFailed(f"not done within {limit_s:.0f} s: {what}")
            await asyncio.sleep(LOOK_EVERY_S)
    return look


BACKLOG = Scenario(
    "backlog",
    "--count deliveries wait for a sender; what each costs then, and from a short queue",
    play,
    presence=ALL_WEBHOOKS,
    count=1_000_000,
    is_own=True,
    starts_workers=True,
)
