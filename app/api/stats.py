"""What this api process counts about itself."""

from collections import Counter
from dataclasses import dataclass, field

from app import metrics
from app.api.rates import Rates
from app.api.refusals import Refusals
from app.api.waiters import Waiters
from app.metrics import Histogram, Labels, Metrics

CLIENT_GONE = 499  # counted for requests whose client left before the answer


@dataclass(slots=True)
class Stats:
    """Plain numbers, read when somebody scrapes."""

    by_status: Counter[int] = field(default_factory=Counter[int])
    refusals: Refusals = field(default_factory=Refusals)
    time: Histogram = field(default_factory=Histogram)
    open: int = 0
    accepted: int = 0
    refused: int = 0
    console_sockets: int = 0  # open now
    console_limits: Counter[str] = field(default_factory=Counter[str])  # by the limit reached

    def requests(self) -> dict[Labels, float]:
        return {(("status", str(status)),): count for status, count in self.by_status.items()}


def _limits(reached: Counter[str]) -> dict[Labels, float]:
    return {(("limit", limit),): count for limit, count in reached.items()}


def _refused(waiters: Waiters) -> dict[Labels, float]:
    return {(("limit", limit),): count for limit, count in waiters.refused.items()}


def register(to: Metrics, stats: Stats, waiters: Waiters, rates: Rates) -> None:
    """Adds the metrics of an api process."""
    to.register(*metrics.REQUESTS, stats.requests)
    to.register(*metrics.PROBLEMS, stats.refusals.read)
    to.register(*metrics.FEED_WAITS, lambda: waiters.waiting)
    to.register(*metrics.FEED_WAITS_REFUSED, lambda: _refused(waiters))
    to.register(*metrics.RATE_REFUSED, rates.read_refused)
    to.register(*metrics.RATE_NAMES, rates.read_names)
    to.register(*metrics.RATE_NAMES_FORGOTTEN, rates.read_forgotten)
    to.register(*metrics.CONSOLE_LIMITS, lambda: _limits(stats.console_limits))
    fields = {
        "time": metrics.REQUEST_TIME,
        "open": metrics.REQUESTS_OPEN,
        "accepted": metrics.POSTS_ACCEPTED,
        "refused": metrics.POSTS_REFUSED,
        "console_sockets": metrics.CONSOLE_SOCKETS_OPEN,
    }
    to.register_stats(stats, fields)
