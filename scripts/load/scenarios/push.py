"""Sockets alone, at a rate that the service has to keep up with all the time."""

from collections.abc import Sequence

from scripts.load.groups import ALL_SOCKETS, Group
from scripts.load.results import Finding
from scripts.load.scenarios.scenario import Scenario
from scripts.load.scenarios.steady import complete
from scripts.load.stage import Stage

P99_MS_MAX = 50.0


async def play(stage: Stage) -> Sequence[Finding]:
    await stage.warm_up()
    phase = await stage.load("push", stage.options.seconds)
    await stage.settle()
    costs = phase.cpu_us()
    summary = stage.latency([phase], [Group.SOCKET])
    return [
        Finding("p50 to sockets", summary.p50_ms, "ms"),
        Finding("p99 to sockets", summary.p99_ms, "ms", bar=P99_MS_MAX),
        Finding("CPU of a delivery, all processes", sum(costs.values()), "µs"),
        *complete(stage),
    ]


PUSH = Scenario(
    "push",
    "everybody is on a socket, 10,000 deliveries a second",
    play,
    presence=ALL_SOCKETS,
    rate=10_000.0,
)
