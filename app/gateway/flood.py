"""How much a client may say: a bucket of tokens, filled steadily."""

from typing import Final

PER_S: Final = 500  # messages a second in the long run
AT_ONCE: Final = 2_000
CONTROL_COST: Final = 20  # pings buy an answer each, and no client needs many


class Allowance:
    __slots__ = ("_at", "_left")

    def __init__(self, now: float) -> None:
        self._left = float(AT_ONCE)
        self._at = now

    def spend(self, cost: int, now: float) -> bool:
        """Takes `cost` out; False when there is not that much left."""
        self._left = min(AT_ONCE, self._left + (now - self._at) * PER_S)
        self._at = now
        if self._left < cost:
            return False
        self._left -= cost
        return True
