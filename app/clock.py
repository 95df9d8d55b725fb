"""The clocks, for the shells that pass time on to the pure rules.

The wall clock is what is stored, shown and signed. It can be set, forwards and backwards, while we
run. The steady clock cannot. It counts the sleep of the machine too, and means something only
within one process.
"""

import time

# On Linux CLOCK_MONOTONIC leaves out the sleep of the machine.
_STEADY: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_BEGAN_NS = time.time_ns() - time.clock_gettime_ns(_STEADY)


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def now_ns() -> int:
    """Nanoseconds since 1970."""
    return time.time_ns()


def steady_ms() -> int:
    """Milliseconds since 1970 as the wall clock had it when this process began: they never jump."""
    return (time.clock_gettime_ns(_STEADY) + _BEGAN_NS) // 1_000_000
