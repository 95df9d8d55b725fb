"""Whether a loop moves: when it began what it is at. A loop that waits for work is at nothing."""

from time import monotonic


class Pulse:
    """Kept by one loop, looked at by whoever is asked whether it is stuck."""

    __slots__ = ("_began_s",)

    def __init__(self) -> None:
        self._began_s: float | None = None

    def begin(self) -> None:
        """A step begins now."""
        self._began_s = monotonic()

    def rest(self) -> None:
        """There is nothing to do until something comes."""
        self._began_s = None

    @property
    def busy_s(self) -> float:
        """How long the step under way has taken so far."""
        return 0.0 if self._began_s is None else monotonic() - self._began_s
