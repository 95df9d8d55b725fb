"""Outages of the egress proxy: while it cannot be used nothing is sent, and nothing is lost."""

import logging

log = logging.getLogger(__name__)

PAUSE_MS = 1_000  # the first pause; doubled while the proxy cannot be used after it either
PAUSE_MAX_MS = 30_000


class Outage:
    """Until when no request is to be begun: 0 while the proxy can be used, as far as is known.

    Times are those of the steady clock.
    """

    __slots__ = ("_pause_ms", "until_ms")

    def __init__(self) -> None:
        self.until_ms = 0
        self._pause_ms = 0

    def begin(self, at_ms: int, told: bytes) -> None:
        """The proxy could not be used; `told` says why."""
        if at_ms < self.until_ms:
            return  # of a request from before the pause: no reason to make it longer
        self._pause_ms = min(max(PAUSE_MS, 2 * self._pause_ms), PAUSE_MAX_MS)
        self.until_ms = at_ms + self._pause_ms
        log.warning(
            "the egress proxy cannot be used: nothing is sent meanwhile",
            extra={"reason": told.decode(), "pause_ms": self._pause_ms},
        )

    def end(self) -> None:
        """The proxy has been of use."""
        if self.until_ms:
            self.until_ms = self._pause_ms = 0
            log.info("the egress proxy can be used again")
