"""The same number of deliveries from posts to few and from posts to many."""

from collections.abc import Sequence
from itertools import pairwise

from scripts.load.arrivals import evenly
from scripts.load.results import Finding, cpu_us_per_delivery
from scripts.load.scenarios.scenario import Scenario
from scripts.load.scenarios.steady import complete
from scripts.load.stage import Stage
from scripts.load.workload import BIG, SIZED

BAR = 1.2


async def play(stage: Stage) -> Sequence[Finding]:
    """`--seconds` for each size, at the same rate of deliveries. A post costs the api as much
    whoever gets it, so that its share is told apart."""
    options, workload = stage.options, stage.workload
    await stage.warm_up()
    sizes = {size: workload.sized(size) for size in SIZED} | {BIG[-1][0]: [workload.celebrity]}
    costs: dict[int, dict[str, float]] = {}
    for size, authors in sizes.items():
        friends = len(workload.authors[authors[0]].friends)
        posts = max(1, round(options.rate * options.seconds / friends))
        extra = evenly(authors, posts, options.seconds)
        phase = await stage.load(f"{size:,} friends", options.seconds, 0.0, extra=extra)
        await stage.settle()
        costs[size] = cpu_us_per_delivery(phase.before, await stage.look())
    without_api = {
        size: sum(cost for name, cost in of_size.items() if not name.startswith("api"))
        for size, of_size in costs.items()
    }
    found = [
        Finding(f"CPU of a delivery, {size:,} friends", sum(of_size.values()), "µs")
        for size, of_size in costs.items()
    ]
    for fewer, more in pairwise(sizes):
        what = f"the same without the api, {more:,} friends against {fewer:,}"
        found.append(Finding(what, without_api[more], "µs", baseline=without_api[fewer], bar=BAR))
    return [*found, *complete(stage)]


CIRCLES = Scenario(
    "circles",
    "the same deliveries from posts to 10, 100, 1,000 and 10,000 people, --seconds each",
    play,
    seconds=20.0,
)
