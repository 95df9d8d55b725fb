"""The outcome of one try of a delivery, as data: a failed request is never an exception."""

from dataclasses import dataclass
from enum import StrEnum


class Failure(StrEnum):
    """Why an attempt brought no complete HTTP answer.

    `PROXY` and `TUNNEL` are there only with an egress proxy: it could not be used at all, or it
    was asked for a way to the receiver and made none. `CHALLENGE` stands beside a 2xx that did not
    echo one.
    """

    DNS = "dns"
    BLOCKED = "blocked"
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    RESET = "reset"
    PROTOCOL = "protocol"
    TOO_LARGE = "too_large"
    PROXY = "proxy"
    TUNNEL = "tunnel"
    CHALLENGE = "challenge"


# Answers by which a receiver asks for less traffic: Standard Webhooks names 429, 502 and 504;
# 503 with Retry-After has meant the same since RFC 9110.
SLOW_DOWN_STATUSES = frozenset({429, 502, 503, 504})
GONE = 410


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one HTTP request came to.

    `status` is the answer's status code, 0 when there was none (then `failure` says why).
    `failure` may stand beside a status: a body that broke off or grew too large.
    `retry_after` is the raw header value, `excerpt` the first bytes of the answer's body, and
    `reused` says that the connection had served a request before.
    """

    status: int
    failure: Failure | None
    duration_ms: float
    retry_after: str | None = None
    excerpt: bytes = b""
    reused: bool = False

    @property
    def ok(self) -> bool:
        """Only a complete 2xx answer is a success; a redirect is not followed and is not one."""
        return self.failure is None and 200 <= self.status < 300

    @property
    def error(self) -> str | None:
        """The class of the failure: a `Failure`, or `http_3xx`, `http_4xx`, `http_5xx`."""
        if self.failure is not None:
            return self.failure.value
        if 200 <= self.status < 300:
            return None
        return f"http_{self.status // 100}xx"

    @property
    def is_gone(self) -> bool:
        return self.failure is None and self.status == GONE

    @property
    def asks_to_slow_down(self) -> bool:
        return self.failure is None and self.status in SLOW_DOWN_STATUSES
