"""An endpoint made ready for sending: address, signer, the head of its requests, its health."""

from collections.abc import Mapping
from dataclasses import replace

from app import __version__
from app.domain.address import Url, parse_url
from app.domain.breaker import EndpointState, Health
from app.domain.post import EventKind
from app.domain.signature import Sign, sign_with
from app.errors import BadSecret
from app.store.endpoints import Endpoint
from workers.excerpt import secret_forms

_METHODS = {EventKind.CREATED: b"POST", EventKind.UPDATED: b"PUT", EventKind.DELETED: b"DELETE"}
_USER_AGENT = f"moments/{__version__}".encode()
_JSON = b"content-type: application/json\r\n"
_NEVER_MS = 1 << 62


class Target:
    """What the sender keeps of an endpoint between requests. Raises `UrlRejected` when made.

    `takes_query`: the message goes into the query string, and what `request` gets is to be one.
    """

    __slots__ = (
        "_endpoint",
        "_head",
        "_sign",
        "_signs_until_ms",
        "_target",
        "header_secrets",
        "health",
        "host",
        "id",
        "is_gone",
        "is_unwritten",
        "loaded_at_ms",
        "log_renewed_until_ms",
        "rate_per_s",
        "retry_schedule_s",
        "takes_query",
        "url",
    )

    def __init__(self, endpoint: Endpoint, now_ms: int, allow_ports: tuple[int, ...]) -> None:
        self.id = endpoint.id
        self.loaded_at_ms = 0  # by the steady clock; whoever keeps it sets it
        self.health = _health(endpoint)
        self.log_renewed_until_ms = (
            0  # by the steady clock: its attempt log's end need not be put off
        )
        self.is_gone = False  # deleted: nothing more is sent there
        self.is_unwritten = False  # its health here is newer than the store's
        self.load(endpoint, now_ms, allow_ports)

    def load(self, endpoint: Endpoint, now_ms: int, allow_ports: tuple[int, ...]) -> None:
        """Takes over what the endpoint is now; a pause, which is not stored, goes on. What is known
        of its health here and not written yet stays, unless it is another address's.

        Raises `UrlRejected` or `BadSecret`, and is as it was then.
        """
        url = parse_url(endpoint.url, allow_ports=allow_ports)
        signing = _signing(endpoint, now_ms)
        headers = endpoint.headers
        if headers is None:
            raise BadSecret("the headers do not open")
        self.url: Url = url
        self.host = self.url.host
        self.rate_per_s = endpoint.rate_per_s
        self.retry_schedule_s = endpoint.retry_schedule_s
        is_about_address = "unverified" in (endpoint.state, self.health.state)
        if is_about_address or not self.is_unwritten:
            self.health = replace(
                _health(endpoint),
                paused_until_ms=self.health.paused_until_ms,
                pause_s=self.health.pause_s,
            )
        self._endpoint = endpoint
        self.takes_query = endpoint.method == "GET"
        self._target = url.target.encode()
        self._head = self._common_headers(headers)
        self.header_secrets = secret_forms(headers.values())
        self._sign, self._signs_until_ms = signing

    @property
    def user(self) -> str:
        return self._endpoint.user

    @property
    def url_text(self) -> str:
        """As it was given."""
        return self._endpoint.url

    @property
    def challenges(self) -> int:
        """How many it was sent, since it has this address."""
        verification = self._endpoint.verification
        return 0 if verification is None else verification.challenges

    def _common_headers(self, own: Mapping[str, str]) -> bytes:
        lines = [
            b"host: " + self.url.host_header.encode(),
            b"user-agent: " + _USER_AGENT,
            b"accept-encoding: identity",
        ]
        lines += [f"{name}: {value}".encode("latin-1", "replace") for name, value in own.items()]
        return b"\r\n".join(lines) + b"\r\n"

    def request(
        self, kind: EventKind, delivery: bytes, attempt: int, body: bytes, now_ms: int
    ) -> tuple[Url, bytes, bytes]:
        """Where to send, the head and the body. The signature covers what carries the message:
        the body, or with GET the query string, all of it as it stands in the request line."""
        if now_ms >= self._signs_until_ms:
            self._sign, self._signs_until_ms = _signing(self._endpoint, now_ms)
        timestamp = b"%d" % (now_ms // 1000)
        if self.takes_query:
            line, signed = self._with_query(body)
            signature = self._sign(delivery, timestamp, signed)
            body, framing = b"", b""
        else:
            signature = self._sign(delivery, timestamp, body)
            verb = _METHODS[kind] if self._endpoint.method == "rest" else b"POST"
            line = b"%b %b" % (verb, self._target)
            framing = b"%bcontent-length: %d\r\n" % (_JSON, len(body))
        head = (
            b"%b HTTP/1.1\r\n%b%bwebhook-id: %b\r\nwebhook-timestamp: %b\r\n"
            b"webhook-signature: %b\r\nmoments-attempt: %d\r\n\r\n"
        ) % (line, self._head, framing, delivery, timestamp, signature, attempt)
        return self.url, head, body

    def _with_query(self, message: bytes) -> tuple[bytes, bytes]:
        """Method and target, and the whole query string."""
        path, _, own = self._target.partition(b"?")
        query = b"%b&%b" % (own, message) if own else message
        return b"GET %b?%b" % (path, query), query


def _signing(endpoint: Endpoint, now_ms: int) -> tuple[Sign, int]:
    """What signs with the secrets that live now, and when the first of them expires. The newest one
    never does. Raises `BadSecret` when there is none."""
    ends = [secret.expires_at_ms for secret in endpoint.secrets if secret.expires_at_ms]
    until_ms = min((end for end in ends if end > now_ms), default=_NEVER_MS)
    return sign_with(endpoint.live_secrets(now_ms)), until_ms


def _health(endpoint: Endpoint) -> Health:
    return Health(
        state=EndpointState(endpoint.state),
        disabled_reason=endpoint.disabled_reason,
        consecutive_failures=endpoint.consecutive_failures,
        first_failure_at_ms=endpoint.first_failure_at_ms,
        failure_days=endpoint.failure_days,
        last_success_at_ms=endpoint.last_success_at_ms,
        open_until_ms=endpoint.open_until_ms,
    )
