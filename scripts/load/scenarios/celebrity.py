"""Posts to 100 people just after one to 10,000, against the same posts without that one."""

import random
from collections.abc import Sequence

from scripts.load.arrivals import Arrival, Kind, draw, every, probes
from scripts.load.groups import Group
from scripts.load.results import Finding, Phase
from scripts.load.scenarios.scenario import Scenario
from scripts.load.scenarios.steady import WEBHOOKS, complete
from scripts.load.stage import Stage

GAP_S = 4.0  # between posts to everybody
PROBING_S = 1.0  # after each of them
PROBES_PER_S = 10.0
BAR = 1.5


async def play(stage: Stage) -> Sequence[Finding]:
    options = stage.options
    seconds = max(GAP_S, options.seconds / (2 * options.cycles) // GAP_S * GAP_S)
    alone: list[Phase] = []
    beside: list[Phase] = []
    await stage.warm_up()
    for cycle in range(options.cycles):
        # The same posts in both, but for the one to all.
        chance = f"cycle {options.seed} {cycle}"
        probing = _probing(stage, seconds)
        alone.append(
            await stage.load("alone", seconds, extra=probing, chance=random.Random(chance))
        )
        extra = [*every(stage.workload, GAP_S, seconds), *probing]
        beside.append(
            await stage.load("beside", seconds, extra=extra, chance=random.Random(chance))
        )
        await stage.settle()
    pairs = list(zip(alone, beside, strict=True))
    found = [
        stage.compare(f"p99 of posts to 100, {name}", groups, pairs, kinds=[Kind.PROBE], bar=BAR)
        for name, groups in (("sockets", [Group.SOCKET]), ("webhooks", WEBHOOKS))
    ]
    whole = stage.latency(beside, [Group.SOCKET, *WEBHOOKS], [Kind.CELEBRITY])
    return [
        *found,
        Finding("p50 of the posts to all", whole.p50_ms, "ms"),
        Finding("p99 of the posts to all", whole.p99_ms, "ms"),
        *complete(stage),
    ]


def _probing(stage: Stage, seconds: float) -> list[Arrival]:
    """Posts to 100 within a second after the times of the posts to everybody."""
    found: list[Arrival] = []
    for number in range(round(seconds / GAP_S)):
        begin_us = round(number * GAP_S * 1e6)
        streams = [probes(stage.workload, PROBES_PER_S)]
        drawn = draw(stage.random, stage.workload, streams, PROBING_S)
        found += [one._replace(at_us=begin_us + one.at_us) for one in drawn]
    return found


CELEBRITY = Scenario(
    "celebrity",
    "posts to 100 people beside posts to 10,000, compared with the same ones alone",
    play,
    rate=1_000.0,
    cycles=3,
)
