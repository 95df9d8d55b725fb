"""What the healthy endpoints feel of bad ones: with them good and bad by turns, in the same run."""

import random
from collections.abc import Sequence

from scripts.load.groups import WITH_HANGING, WITH_RELAY, Group
from scripts.load.results import Finding, Phase
from scripts.load.scenarios.scenario import Scenario
from scripts.load.scenarios.steady import complete
from scripts.load.stage import Stage

BAR = 1.5
# Until as many requests hang as ever will: the deadline of a request, and how long an endpoint
# that has recovered is still paused or retried.
FILL_S = 15.0
RECOVER_S = 20.0
RELAY_DELAY_S = 5.0
# Until most connections are there: the first phase would bear the cost of them all.
WARM_UP_S = 20.0


async def play_hanging(stage: Stage) -> Sequence[Finding]:
    return await _compare(stage, Group.HANGING, None)


async def play_relay(stage: Stage) -> Sequence[Finding]:
    return await _compare(stage, Group.RELAY, RELAY_DELAY_S)


async def _compare(stage: Stage, bad: Group, delay_s: float | None) -> Sequence[Finding]:
    """`--seconds` are halved: good phases and bad ones, in `--cycles` pairs."""
    options = stage.options
    seconds = options.seconds / (2 * options.cycles)
    good_phases: list[Phase] = []
    bad_phases: list[Phase] = []
    await stage.warm_up()
    for cycle in range(options.cycles):
        good_phases.append(await stage.load(f"none {bad}", seconds, chance=_chance(stage, cycle)))
        await stage.manner(bad, [delay_s])
        await stage.load("filling", FILL_S, is_measured=False)
        bad_phases.append(await stage.load(f"with {bad}", seconds, chance=_chance(stage, cycle)))
        await stage.manner(bad)
        if cycle + 1 < options.cycles:
            await stage.load("recovering", RECOVER_S, is_measured=False)
    others = (Group.SOCKET, Group.HEALTHY)
    await stage.settle(others)
    pairs = list(zip(good_phases, bad_phases, strict=True))
    return [
        stage.compare("p99 to healthy endpoints", [Group.HEALTHY], pairs, bar=BAR),
        stage.compare("p99 to sockets", [Group.SOCKET], pairs),
        *(
            stage.compare(f"pair {number}: p99 to healthy endpoints", [Group.HEALTHY], [pair])
            for number, pair in enumerate(pairs, 1)
        ),
        *(
            Finding(what, max(look.metrics.get(name, 0) for look in stage.watch.looks), "requests")
            for what, name in (
                ("most requests under way", "attempts_open"),
                ("most of them to endpoints that were slow the last time", "attempts_slow"),
            )
        ),
        *complete(stage, others),
    ]


def _chance(stage: Stage, cycle: int) -> random.Random:
    """The same for both phases of a pair."""
    return random.Random(f"pair {stage.options.seed} {cycle}")


HANGING = Scenario(
    "hanging",
    "a tenth of the endpoints hangs until the deadline, compared with none",
    play_hanging,
    presence=WITH_HANGING,
    seconds=120.0,
    rate=1_000.0,
    cycles=2,
    warm_up=WARM_UP_S,
)
RELAY = Scenario(
    "relay",
    "one host with a fifth of the endpoints takes 5 s, compared with none",
    play_relay,
    presence=WITH_RELAY,
    seconds=120.0,
    rate=1_000.0,
    cycles=2,
    warm_up=WARM_UP_S,
)
