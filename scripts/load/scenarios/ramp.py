"""Ever higher rates, until the 99th percentile passes 200 ms."""

from collections.abc import Sequence

from scripts.load.groups import OWED
from scripts.load.options import RATE_MAX
from scripts.load.results import Finding, Phase, busiest
from scripts.load.scenarios.scenario import Scenario
from scripts.load.scenarios.steady import complete
from scripts.load.stage import Stage

FACTOR = 1.25
STEPS_MAX = 30
FAILURES_MAX = 2
P99_MS_MAX = 200.0
SETTLE_MAX_S = 20.0


async def play(stage: Stage) -> Sequence[Finding]:
    """`--seconds` for each step, `--rate` for the first. Two steps that are too much in a row end
    it: one may have been the machine's."""
    await stage.warm_up()
    rate, failures = stage.options.rate, 0
    steps: list[tuple[Phase, float]] = []
    best: tuple[Phase, float] | None = None
    while len(steps) < STEPS_MAX and rate <= RATE_MAX and failures < FAILURES_MAX:
        phase = await stage.load(f"{rate:,.0f} per second", stage.options.seconds, rate)
        is_settled = await stage.settle(limit_s=SETTLE_MAX_S)
        p99_ms = stage.latency([phase], OWED).p99_ms
        steps.append((phase, p99_ms))
        if not is_settled or p99_ms > P99_MS_MAX or phase.refused:
            failures += 1
        else:
            best, failures = steps[-1], 0
            rate *= FACTOR
    last, last_p99_ms = steps[-1]
    return [
        *_best(best),
        Finding("the last rate", _rate(last), "1/s"),
        Finding("p99 at the last rate", last_p99_ms, "ms"),
        *(
            Finding(f"share of a core that {name} used then", share, "")
            for name, share in busiest(last.before, last.after)
        ),
        *complete(stage),
    ]


def _best(best: tuple[Phase, float] | None) -> list[Finding]:
    """Nothing when even the first rate was too much."""
    if best is None:
        return []
    phase, p99_ms = best
    return [
        Finding(f"highest rate with p99 up to {P99_MS_MAX:.0f} ms", _rate(phase), "1/s"),
        Finding("p99 at that rate", p99_ms, "ms"),
    ]


def _rate(phase: Phase) -> float:
    """What the drawn posts really came to."""
    return phase.expected.total() / phase.seconds


RAMP = Scenario(
    "ramp",
    "a quarter more every --seconds, from --rate on, until p99 passes 200 ms",
    play,
    seconds=10.0,
    rate=500.0,
)
