"""Token bucket of one endpoint's rate, kept as a single point in time (GCRA, ITU-T I.371)."""

_UNLIMITED = 0.0
_ROUNDING_S = 1e-6  # sums of intervals must not fall behind the clock by a rounding error


class Bucket:
    """Lets `rate_per_s` through on average and max(1, rate) at once. Times are monotonic seconds.

    `full_at_s` is when all tokens are back; how far it lies ahead says how many are gone.
    """

    __slots__ = ("_ahead_s", "_interval_s", "full_at_s")

    def __init__(self, rate_per_s: float | None) -> None:
        """None lets everything through. Raises `ValueError` for a rate that is not positive."""
        self.full_at_s = float("-inf")
        self._set(rate_per_s)

    def _set(self, rate_per_s: float | None) -> None:
        if rate_per_s is not None and not rate_per_s > 0:
            raise ValueError(f"a rate is positive, not {rate_per_s}")
        self._interval_s = _UNLIMITED if rate_per_s is None else 1 / rate_per_s
        burst = 1.0 if rate_per_s is None else max(1.0, rate_per_s)
        self._ahead_s = (burst - 1) * self._interval_s

    @property
    def ready_at_s(self) -> float:
        """When the next token may be taken."""
        return self.full_at_s - self._ahead_s - _ROUNDING_S

    def take(self, now_s: float) -> None:
        self.full_at_s = max(self.full_at_s, now_s) + self._interval_s

    def change(self, rate_per_s: float | None, now_s: float) -> None:
        """Another rate from now on; tokens already taken stay taken."""
        interval_s, gone_s = self._interval_s, max(self.full_at_s - now_s, 0.0)
        self._set(rate_per_s)
        taken = gone_s / interval_s if interval_s else 0.0
        self.full_at_s = now_s + taken * self._interval_s
