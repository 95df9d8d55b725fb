"""One timer for all deadlines of the HTTP client."""

import asyncio
from collections.abc import Callable
from math import inf
from time import monotonic

# Deadlines within this time are dealt with together: with thousands of connections a sweep takes a
# millisecond, and while endpoints hang a deadline comes every few.
_STEP_S = 0.1


class Alarm:
    """Calls `sweep(now)` when the earliest deadline has come.

    A request only compares its deadline with `due`: nearly always something earlier is being
    waited for already, so a timer is set every few seconds instead of for every request. The
    sweep looks at all that has a deadline and returns the earliest one left (`inf` for none).
    Times are those of `time.monotonic`.
    """

    __slots__ = ("_loop", "_sweep", "_timer", "due")

    def __init__(self, sweep: Callable[[float], float]) -> None:
        self._loop = asyncio.get_running_loop()
        self._sweep = sweep
        self._timer: asyncio.TimerHandle | None = None
        self.due = inf

    def set(self, due: float) -> None:
        """See to it that a sweep comes at `due` or before."""
        if due >= self.due:
            return
        self.stop()
        self.due = due
        self._timer = self._loop.call_later(max(due - monotonic(), 0.0), self._ring)

    def stop(self) -> None:
        """Wake nobody until the next `set`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.due = inf

    def _ring(self) -> None:
        self._timer = None
        self.due = inf
        now = monotonic()
        earliest = self._sweep(now)
        if earliest < inf:
            self.set(max(earliest, now + _STEP_S))
