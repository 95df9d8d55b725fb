"""Sockets that idle, then one post to all of them, then all of them coming back at once."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from scripts.load.arrivals import every
from scripts.load.groups import ALL_SOCKETS, Group
from scripts.load.results import Finding, Phase
from scripts.load.scenarios.scenario import Scenario
from scripts.load.scenarios.steady import complete
from scripts.load.stage import Stage
from scripts.load.watch import Look

IDLE_S = 10.0
POSTS = 5
IDLE_BYTES_MAX = 6 * 1024
GATEWAY_US_MAX = 7.8


async def play(stage: Stage) -> Sequence[Finding]:
    count = len(stage.workload.members(Group.SOCKET))
    before = await stage.look()
    took_s = await stage.open_sockets()
    opened = await stage.look()
    with stage.display.step(f"{count:,} sockets idle"):
        await asyncio.sleep(IDLE_S)
    idle = await stage.look()
    phases, costs = await _post_to_all(stage, count, opened, idle)
    summary = stage.latency(phases, [Group.SOCKET])
    returned = await _return(stage, count)
    return [
        Finding("all open, one after the other", took_s, "s"),
        Finding("memory of an idle socket", _bytes(before, idle) / count, "B", bar=IDLE_BYTES_MAX),
        Finding("CPU of all gateways with idle sockets", _gateway_share(opened, idle), "% of core"),
        Finding("one post to all, p50", summary.p50_ms, "ms"),
        Finding("one post to all, p99", summary.p99_ms, "ms"),
        Finding("one post to all, last", summary.max_ms, "ms"),
        Finding(
            "CPU of a delivery beside idling, gateways", _gateways(costs), "µs", bar=GATEWAY_US_MAX
        ),
        Finding("CPU of a delivery beside idling, all", sum(costs.values()), "µs"),
        *returned,
        *complete(stage),
    ]


async def _post_to_all(
    stage: Stage, count: int, opened: Look, idle: Look
) -> tuple[list[Phase], dict[str, float]]:
    """A few times. Also the CPU microseconds of a delivery by process, less what the process uses
    in the same time while all are idle."""
    idle_s = (idle.at_us - opened.at_us) / 1e6
    idle_cpu_s = {name: (idle.cpu_s[name] - opened.cpu_s[name]) / idle_s for name in opened.cpu_s}
    phases: list[Phase] = []
    costs: Counter[str] = Counter()
    for number in range(POSTS):
        posts = every(stage.workload, 1.0, 1.0)
        phase = await stage.load(f"post {number + 1} to all", 1.0, 0.0, extra=posts)
        await stage.settle()
        after = await stage.look()
        seconds = (after.at_us - phase.before.at_us) / 1e6
        for name, cpu_s in after.cpu_s.items():
            used_s = cpu_s - phase.before.cpu_s[name] - idle_cpu_s[name] * seconds
            costs[name] += used_s / (count * POSTS) * 1e6
        phases.append(phase)
    return phases, dict(costs)


async def _return(stage: Stage, count: int) -> list[Finding]:
    """All are cut, miss a post, and connect again at the same moment."""
    await stage.sockets.ask("drop")
    missed = await stage.load(
        "post while all are away", 1.0, 0.0, extra=every(stage.workload, 1.0, 1.0)
    )
    before = await stage.look()
    with stage.display.step(f"{count:,} sockets come back at once"):
        answer = await stage.sockets.ask("reopen", at_once=count)
    await stage.settle()
    after = await stage.look()
    cpu_s = sum(after.cpu_s[name] - before.cpu_s[name] for name in before.cpu_s)
    return [
        Finding("all back at once, until each was greeted", answer["took_s"], "s"),
        Finding("connections tried for that", answer["tries"] / count, "per socket"),
        Finding("CPU of a return with what was missed", cpu_s / count * 1e6, "µs"),
        Finding("missed and not caught up", stage.missing(missed), "deliveries", bar=0),
    ]


def _gateways(of_processes: dict[str, float]) -> float:
    return sum(value for name, value in of_processes.items() if name.startswith("gateway"))


def _bytes(before: Look, after: Look) -> float:
    return _gateways({name: float(used.rss_bytes) for name, used in after.usage.items()}) - (
        _gateways({name: float(used.rss_bytes) for name, used in before.usage.items()})
    )


def _gateway_share(before: Look, after: Look) -> float:
    used_s = _gateways(after.cpu_s) - _gateways(before.cpu_s)
    return used_s / ((after.at_us - before.at_us) / 1e6) * 100


SOCKETS = Scenario(
    "sockets",
    "--people sockets idle, then one post to all; then all of them come back at once",
    play,
    presence=ALL_SOCKETS,
    settings={"hello_timeout_s": "30"},
    opens_sockets=True,
)
