"""The everyday mix at an even rate, and five times of it for a minute."""

from collections.abc import Collection, Sequence

from scripts.load.groups import OWED, Group
from scripts.load.results import Finding, Phase
from scripts.load.scenarios.scenario import Scenario
from scripts.load.stage import Stage

BURST = 5.0  # as much as in the night of a new year, against any other: WeChat 2015
WEBHOOKS = (Group.HEALTHY, Group.RELAY)


async def play_steady(stage: Stage) -> Sequence[Finding]:
    await stage.warm_up()
    phase = await stage.load("steady", stage.options.seconds)
    await stage.settle()
    return [*latencies(stage, phase), *complete(stage)]


async def play_burst(stage: Stage) -> Sequence[Finding]:
    options = stage.options
    await stage.warm_up()
    before = await stage.load("before", options.seconds / 2)
    burst = await stage.load("burst", options.seconds, options.rate * BURST)
    after = await stage.load("after", options.seconds / 2)
    await stage.settle()
    found = [one for phase in (before, burst, after) for one in latencies(stage, phase)]
    return [*found, *complete(stage)]


def latencies(stage: Stage, phase: Phase) -> list[Finding]:
    return [
        Finding(f"p99 to {name}, {phase.name}", summary.p99_ms, "ms")
        for name, groups in (("sockets", [Group.SOCKET]), ("healthy webhooks", WEBHOOKS))
        if (summary := stage.latency([phase], groups)).count
    ]


def complete(stage: Stage, groups: Collection[Group] = OWED) -> list[Finding]:
    """That nothing is missing: percentiles of what has come would not show it."""
    missing = sum(stage.missing(phase, groups) for phase in stage.phases)
    return [Finding("owed to sockets and healthy webhooks, not come", missing, "deliveries", bar=0)]


STEADY = Scenario("steady", "the everyday mix at an even rate, for --seconds", play_steady)
BURST_FOR_A_MINUTE = Scenario(
    "burst",
    "half of --seconds even, --seconds five times as much, half even again",
    play_burst,
    rate=1_000.0,
)
