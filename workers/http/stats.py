"""What the HTTP client counts."""

from collections.abc import Sized

from app.domain.attempt import Failure


class Stats:
    """Plain numbers, current ones first. Whoever exports metrics reads them."""

    __slots__ = (
        "_idle",
        "evicted_total",
        "expired_total",
        "failures",
        "in_flight",
        "intruded_total",
        "open",
        "opened_total",
        "refused_total",
        "resent_total",
        "reused_total",
        "truncated_total",
        "waiting",
    )

    def __init__(self, idle: Sized) -> None:
        self._idle = idle
        self.open = 0  # connections, those being set up among them
        self.in_flight = 0  # requests without an outcome yet
        self.waiting = 0  # of these, the ones without a connection
        self.opened_total = 0  # connections that came to be
        self.reused_total = 0  # requests on a connection that had served one before
        self.resent_total = 0  # requests sent again because the server had closed the connection
        self.evicted_total = 0  # idle connections closed to make room for another
        self.expired_total = 0  # idle connections closed because nobody used them
        self.refused_total = 0  # requests that found no connection and no room to wait for one
        self.truncated_total = 0  # answers whose body was not read to its end
        self.intruded_total = 0  # idle connections on which something came unasked
        self.failures = dict.fromkeys(Failure, 0)

    @property
    def idle(self) -> int:
        """Connections that wait for a request."""
        return len(self._idle)
