"""What a gateway counts. Plain ints, read when somebody scrapes."""

from collections import Counter
from dataclasses import dataclass, field

from app.metrics import Histogram, push_times


@dataclass(slots=True)
class Stats:
    """Totals since the start, but for those marked "now"."""

    sockets_open: int = 0  # now
    users_here: int = 0  # now
    sockets_behind: int = 0  # now: take no more, fed from their inboxes when they do again
    handshakes_open: int = 0  # now
    tokens_awaited: int = 0  # now: sockets that are nobody's yet
    handshakes_timed_out: int = 0
    sockets_accepted: int = 0
    sockets_closed: Counter[int] = field(default_factory=Counter[int])  # by close code
    sockets_refused: Counter[str] = field(default_factory=Counter[str])  # by the limit reached
    requests: Counter[int] = field(default_factory=Counter[int])  # answered over HTTP, by status
    connections_refused: int = 0  # cut before a request, because there were too many
    frames_sent: int = 0  # events
    push_time: Histogram = field(default_factory=push_times)  # from acceptance, in seconds
    bytes_sent: int = 0
    acks: int = 0
    repushes: int = 0  # what was not acknowledged in time
    repeats: int = 0  # what somebody asked to be pushed once more
    repeats_dropped: int = 0
    pages_read: int = 0
    gaps: int = 0
    resets: int = 0
    fallen_behind: int = 0
    overflows: int = 0
    store_failures: int = 0
