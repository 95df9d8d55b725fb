"""How long a loop stands back from a store that does not answer."""

import logging
import random

from app.errors import StoreError
from app.gateway.stats import Stats

log = logging.getLogger(__name__)

FIRST_S = 0.1
MAX_S = 5.0


class Backoff:
    """Delays that double from one failure to the next, with jitter, until something works."""

    def __init__(self, what: str, stats: Stats) -> None:
        self._what = what
        self._stats = stats
        self._failures = 0

    def failed(self, error: StoreError) -> float:
        """Counts and logs a failure; says how long to wait, in seconds."""
        delay_s = min(MAX_S, FIRST_S * 2 ** min(self._failures, 10)) * random.uniform(0.5, 1.0)
        self._failures += 1
        self._stats.store_failures += 1
        log.warning("store unavailable", extra={"work": self._what, "reason": str(error)})
        return delay_s

    def worked(self) -> None:
        self._failures = 0
