"""Ever higher rates, until the 99th percentile passes 200 ms."""

from collections.abc import Sequence

from scripts.load.groups import OWED
from scripts.load.options import RATE_MAX
from scripts.load.results import Finding, Phase, busiest
from scripts.load.scenarios.scenario import Scenario
from scripts.load.scenarios.steady import complete
from scripts.load.stage import Stage

FACTOR = 1.25
STEPS_MAX = 24
P99_MS_MAX = 200.0
SETTLE_MAX_S = 20.0


async def play(stage: Stage) -> Sequence[Finding]:
    """`--seconds` for each step, `--rate` for the first."""
    await stage.warm_up()
    rate = stage.options.rate
    steps: list[tuple[Phase, float]] = []
    while len(steps) < STEPS_MAX and rate <= RATE_MAX:
        phase = await stage.load(f"{rate:,.0f} per second", stage.options.seconds, rate)
        is_settled = await stage.settle(limit_s=SETTLE_MAX_S)
        p99_ms = stage.latency([phase], OWED).p99_ms
        steps.append((phase, p99_ms))
        if not is_settled or p99_ms > P99_MS_MAX or phase.refused:
            break
        rate *= FACTOR
    best, p99_ms = steps[-2] if len(steps) > 1 else steps[0]
    last, last_p99_ms = steps[-1]
    return [
        Finding(f"highest rate with p99 up to {P99_MS_MAX:.0f} ms", _rate(best), "1/s"),
        Finding("p99 at that rate", p99_ms, "ms"),
        Finding("the rate that was too much", _rate(last), "1/s"),
        Finding("p99 at that rate", last_p99_ms, "ms"),
        *(
            Finding(f"share of a core that {name} used then", share, "")
            for name, share in busiest(last.before, last.after)
        ),
        *complete(stage),
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
