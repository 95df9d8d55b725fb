"""What a gateway counts, under the names that somebody who scrapes sees."""

from collections.abc import Mapping
from typing import Final

from app import metrics as names
from app.gateway.stats import Stats
from app.metrics import Labels, Metric, Metrics

_FIELDS: Final[Mapping[str, Metric]] = {
    "sockets_open": names.SOCKETS_OPEN,
    "users_here": names.SOCKET_USERS,
    "sockets_behind": names.SOCKETS_BEHIND,
    "handshakes_open": names.HANDSHAKES_OPEN,
    "tokens_awaited": names.TOKENS_AWAITED,
    "handshakes_timed_out": names.HANDSHAKES_TIMED_OUT,
    "sockets_accepted": names.SOCKETS_ACCEPTED,
    "connections_refused": names.CONNECTIONS_REFUSED,
    "frames_sent": names.FRAMES_SENT,
    "bytes_sent": names.SOCKET_BYTES_SENT,
    "acks": names.ACKS,
    "repushes": names.REPUSHES,
    "repeats": names.REPEATS,
    "repeats_dropped": names.REPEATS_DROPPED,
    "pages_read": names.INBOX_PAGES_READ,
    "gaps": names.GAPS,
    "resets": names.RESETS,
    "fallen_behind": names.SOCKETS_FALLEN_BEHIND,
    "overflows": names.GATEWAY_OVERFLOWS,
    "store_failures": names.GATEWAY_STORE_FAILURES,
}


def register(metrics: Metrics, stats: Stats) -> None:
    """Adds the metrics of a gateway process."""
    metrics.register_stats(stats, _FIELDS)
    metrics.register(*names.PUSH_TIME, lambda: {(("channel", "socket"),): stats.push_time})
    metrics.register(*names.SOCKETS_CLOSED, lambda: _by("code", stats.sockets_closed))
    metrics.register(*names.SOCKETS_REFUSED, lambda: _by("limit", stats.sockets_refused))
    metrics.register(*names.GATEWAY_REQUESTS, lambda: _by("status", stats.requests))


def _by(label: str, counts: Mapping[int, int] | Mapping[str, int]) -> dict[Labels, float]:
    return {((label, str(key)),): count for key, count in counts.items()}
