"""Token buckets, each kept as a single point in time (GCRA, ITU-T I.371)."""

from collections import OrderedDict
from dataclasses import dataclass
from math import floor

_ROUNDING_S = 1e-6  # sums of intervals must not fall behind the clock by a rounding error


@dataclass(frozen=True, slots=True)
class Rate:
    """What a bucket lets through: one each `interval_s` on average, `burst` at once."""

    interval_s: float
    burst: float

    @classmethod
    def of(cls, per_s: float | None, burst: float | None = None) -> "Rate":
        """Without `burst` what comes in a second, but one at least. None lets everything through.

        Raises `ValueError` for a rate that is not positive, or a burst under 1.
        """
        if per_s is None:
            return UNLIMITED
        if not per_s > 0:
            raise ValueError(f"a rate is positive, not {per_s}")
        if burst is not None and not burst >= 1:
            raise ValueError(f"a burst is 1 or more, not {burst}")
        return cls(1 / per_s, max(1.0, per_s) if burst is None else burst)


UNLIMITED = Rate(0.0, 1.0)


class Bucket:
    """Holds a rate. Times are monotonic seconds.

    `full_at_s` is when all tokens are back; how far it lies ahead says how many are gone.
    """

    __slots__ = ("full_at_s", "rate")

    def __init__(self, rate: Rate) -> None:
        self.full_at_s = float("-inf")
        self.rate = rate

    @property
    def ready_at_s(self) -> float:
        """When the next token may be taken."""
        rate = self.rate
        return self.full_at_s - (rate.burst - 1) * rate.interval_s - _ROUNDING_S

    def take(self, now_s: float) -> None:
        self.full_at_s = max(self.full_at_s, now_s) + self.rate.interval_s

    def left(self, now_s: float) -> int:
        """How many tokens can be taken now, one after the other, of a rate that has a limit."""
        rate = self.rate
        gone_s = max(self.full_at_s - now_s - _ROUNDING_S, 0.0)
        return max(floor(rate.burst - gone_s / rate.interval_s), 0)

    def change(self, rate: Rate, now_s: float) -> None:
        """Another rate from now on; tokens already taken stay taken."""
        interval_s, gone_s = self.rate.interval_s, max(self.full_at_s - now_s, 0.0)
        self.rate = rate
        taken = gone_s / interval_s if interval_s else 0.0
        self.full_at_s = now_s + taken * rate.interval_s


class Buckets:
    """A bucket for each of many names. Of more than `names_max` those asked for last are kept.

    `forgotten` counts those that were not full when they went: their names may take all tokens
    again, sooner than their rate allows.
    """

    __slots__ = ("_names_max", "_of", "forgotten")

    def __init__(self, names_max: int) -> None:
        self._names_max = names_max
        self._of: OrderedDict[str, Bucket] = OrderedDict()
        self.forgotten = 0

    def of(self, name: str, rate: Rate, now_s: float) -> Bucket:
        """The bucket of `name`; if there is none yet, a full one of this rate."""
        bucket = self._of.get(name)
        if bucket is not None:
            self._of.move_to_end(name)
            return bucket
        if len(self._of) >= self._names_max:
            _, oldest = self._of.popitem(last=False)
            self.forgotten += oldest.full_at_s > now_s
        bucket = self._of[name] = Bucket(rate)
        return bucket

    def find(self, name: str) -> Bucket | None:
        """The bucket of `name`, if there is one. It is not kept any longer for that."""
        return self._of.get(name)

    def __len__(self) -> int:
        return len(self._of)
