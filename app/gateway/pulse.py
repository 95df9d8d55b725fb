"""Signs of life of one client: when it is pinged, and when an answer is overdue."""

from app.gateway.limits import Limits
from app.gateway.session import NEVER


class Pulse:
    """All times in seconds, of one clock. Whatever the client sends is an answer."""

    __slots__ = ("_heard_at", "_pinged_at")

    def __init__(self, now: float) -> None:
        self.heard(now)

    def heard(self, now: float) -> None:
        self._heard_at = now
        self._pinged_at: float | None = None  # None: no ping is unanswered

    def pinged(self, now: float) -> None:
        self._pinged_at = now

    def ping_due(self, limits: Limits) -> float:
        return NEVER if self._pinged_at is not None else self._heard_at + limits.ping_s

    def answer_due(self, limits: Limits) -> float:
        return NEVER if self._pinged_at is None else self._pinged_at + limits.pong_timeout_s
