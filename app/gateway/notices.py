"""Log lines about limits that were reached: each kind now and then, with how often it was."""

from collections import Counter
from collections.abc import Callable
from logging import getLogger
from typing import Any, Final

log = getLogger(__name__)

PERIOD_S: Final = 10.0


class Notices:
    """What a crowd can bring about a thousand times a second shall not fill the log as often."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._next_at: dict[str, float] = {}
        self._times: Counter[str] = Counter()  # since a kind's last line

    def tell(self, limit: str, message: str, **details: Any) -> None:
        """Logs, unless there was a line about this limit lately. `limit` is one of a few names."""
        self._times[limit] += 1
        now = self._now()
        if now >= self._next_at.get(limit, now):
            self._next_at[limit] = now + PERIOD_S
            times = self._times.pop(limit)
            log.warning(message, extra={"limit": limit, "times": times, **details})
