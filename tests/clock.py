"""Clocks that a test sets: the wall clock can be set, and days can pass in a moment.

What waits on the event loop is not woken: a test gives it something to do.
"""

import time

import pytest

from app import clock

NS = 1_000_000_000


class SettableClock:
    """All of this process goes by it, as long as the test runs."""

    def __init__(self) -> None:
        self._wall_ns = 0
        self._steady_ns = 0

    def set_by(self, seconds: float) -> None:
        """The wall clock is set forwards, or backwards, while no time passes."""
        self._wall_ns += round(seconds * NS)

    def let_pass(self, seconds: float) -> None:
        """So much time is over."""
        self._wall_ns += round(seconds * NS)
        self._steady_ns += round(seconds * NS)

    def restart(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever is made from now on is as in a process that begins now."""
        began_ns = self.time_ns() - self.clock_gettime_ns(0)
        monkeypatch.setattr(clock, "_BEGAN_NS", began_ns)

    # What `app.clock` asks

    def time_ns(self) -> int:
        return time.time_ns() + self._wall_ns

    def clock_gettime_ns(self, _: int) -> int:
        return time.clock_gettime_ns(clock._STEADY) + self._steady_ns


def settable(monkeypatch: pytest.MonkeyPatch) -> SettableClock:
    made = SettableClock()
    monkeypatch.setattr(clock, "time", made)
    return made
