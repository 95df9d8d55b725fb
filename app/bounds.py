"""Which counters tell that a bound was reached, and the log line that says so.

docs/bounds.md names all bounds. Those whose line tells more where they are reached (which user was
refused, say) are not repeated here.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from app import metrics as names
from app.metrics import Metric, Metrics

log = logging.getLogger(__name__)

EVERY_S: Final = 10.0  # at most one line for each bound in this time


class Bound(NamedTuple):
    """A counter that grows when a bound is reached.

    `label` and `values`: only these entries of it count; all of them for no values.
    `level`: what a busy service reaches in its daily work is not worth a warning.
    """

    metric: Metric
    label: str = ""
    values: frozenset[str] = frozenset()
    level: int = logging.WARNING


BOUNDS: Final = (
    # worker
    Bound(names.LANE_WAITS, "limit", level=logging.INFO),
    Bound(names.LANES_FULL, "limit"),
    Bound(names.DELIVERY_READS_PAUSED),
    Bound(names.ATTEMPTS, "result", frozenset({"timeout"}), logging.INFO),
    Bound(names.ANSWERS_CUT, level=logging.INFO),
    Bound(names.CONNECTIONS_EVICTED),
    Bound(names.CONNECTIONS_EXPIRED, level=logging.INFO),
    Bound(names.ATTEMPTS_REFUSED),
    Bound(names.RETRY_MOVES_FULL, level=logging.INFO),
    Bound(names.RETRY_STREAM_FULL),
    Bound(names.OUTCOME_BATCHES_FULL, level=logging.INFO),
    Bound(names.DROPPED, "limit"),
    Bound(names.CHALLENGES_LIMITED, "limit"),
    Bound(names.CHALLENGES, "result", frozenset({"challenge"}), logging.INFO),
    Bound(names.FANOUT_READS_PAUSED),
    Bound(names.INBOXES_TRIMMED, level=logging.INFO),
    # gateway
    Bound(names.GAPS, level=logging.INFO),
    Bound(names.GATEWAY_OVERFLOWS),
    Bound(names.REPUSHES, level=logging.INFO),
    Bound(names.GATEWAY_REQUESTS, "status", frozenset({"431"}), logging.INFO),
    # api: what its caller is to blame for, and what no answer tells of
    Bound(
        names.PROBLEMS,
        "kind",
        frozenset({"head-too-large", "too-many-headers", "head-timeout"})
        | {"body-too-large", "body-timeout", "limit-reached"},
        logging.INFO,
    ),
    Bound(names.API_CONNECTIONS_STALLED),
    Bound(names.CONSOLE_LIMITS, "limit", level=logging.INFO),
    Bound(names.RATE_NAMES_FORGOTTEN, "limit"),
)


class BoundLog:
    """What has been reached since the last look at the counters of one process."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._bounds = [bound for bound in BOUNDS if bound.metric in metrics]
        self._seen: dict[tuple[str, str], float] = {}

    def look(self) -> None:
        """Writes a line for each bound that was reached since the last look, with how often."""
        for bound in self._bounds:
            for value, count in _counts(self._metrics, bound).items():
                times = count - self._seen.get((bound.metric.name, value), 0.0)
                if not times:
                    continue
                self._seen[bound.metric.name, value] = count
                details = {bound.label: value} if bound.label else {}
                log.log(
                    bound.level,
                    "limit reached",
                    extra={"metric": bound.metric.name, **details, "times": int(times)},
                )


def _counts(metrics: Metrics, bound: Bound) -> dict[str, float]:
    """By the value of the bound's label, or by nothing."""
    read = metrics.read(bound.metric)
    entries = read if isinstance(read, Mapping) else {((bound.label, ""),): read}
    counts: dict[str, float] = {}
    for labels, count in entries.items():
        [value] = [value for label, value in labels if label == bound.label]
        assert isinstance(count, int | float)
        if not bound.values or value in bound.values:
            counts[value] = count
    return counts


@asynccontextmanager
async def told_bounds(metrics: Metrics, every_s: float = EVERY_S) -> AsyncGenerator[None]:
    """While the block runs, and at its end, the log tells of bounds that were reached."""
    told = BoundLog(metrics)
    looking = asyncio.create_task(_keep_looking(told, every_s), name="bounds")
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        _look(told)


async def _keep_looking(told: BoundLog, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        _look(told)


def _look(told: BoundLog) -> None:
    """A counter that cannot be read costs a line, not the process."""
    try:
        told.look()
    except Exception:
        log.exception("limits cannot be read")
