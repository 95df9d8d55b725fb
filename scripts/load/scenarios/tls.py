"""Webhooks over TLS: how many deliveries need a handshake, with connections kept and dropped."""

import asyncio
from collections.abc import Sequence

from scripts.load.groups import ALL_WEBHOOKS, Group
from scripts.load.results import Finding, Phase
from scripts.load.scenarios.scenario import Scenario
from scripts.load.scenarios.steady import complete, latencies
from scripts.load.stage import Stage

DROP_EVERY_S = 10.0


async def play(stage: Stage) -> Sequence[Finding]:
    """Half of `--seconds` with receivers that keep connections, half with some that do not."""
    seconds = stage.options.seconds / 2
    await stage.warm_up()
    kept = await stage.load("kept", seconds)
    dropping = asyncio.create_task(_drop(stage), name="drop connections")
    try:
        dropped = await stage.load(f"dropped every {DROP_EVERY_S:.0f} s", seconds)
    finally:
        dropping.cancel()
    await stage.settle()
    return [
        *_of_phase(stage, kept),
        *_of_phase(stage, dropped),
        *complete(stage),
    ]


async def _drop(stage: Stage) -> None:
    while True:
        await asyncio.sleep(DROP_EVERY_S)
        await stage.receivers.ask("drop", group=Group.HEALTHY)


def _of_phase(stage: Stage, phase: Phase) -> list[Finding]:
    before, after = phase.before, phase.after
    delivered = phase.delivered or 1
    made = after.metrics.get("connections_made", 0) - before.metrics.get("connections_made", 0)
    seen = after.counted("connections") - before.counted("connections")
    resumed = after.counted("resumed") - before.counted("resumed")
    name = phase.name
    return [
        Finding(f"handshakes per 1,000 deliveries, {name}", made / delivered * 1000, ""),
        Finding(f"the same, as receivers saw it, {name}", seen / delivered * 1000, ""),
        Finding(f"of these with a session resumed, {name}", resumed / delivered * 1000, ""),
        Finding(f"CPU of a delivery, {name}", sum(phase.cpu_us().values()), "µs"),
        *latencies(stage, phase),
    ]


TLS = Scenario(
    "tls",
    "2,000 https endpoints; how many deliveries need a handshake",
    play,
    presence=ALL_WEBHOOKS,
    people=2_000,
    rate=1_000.0,
    is_own=True,
    is_secure=True,
)
