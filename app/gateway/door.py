"""Who gets in: answers a request over HTTP, or lets it become a socket."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from app.errors import BadToken, Rejected
from app.gateway.answers import answer, problem
from app.gateway.context import Verify
from app.gateway.encoding import ENCODINGS, JSON, Encoding
from app.gateway.limits import Limits
from app.gateway.notices import Notices
from app.gateway.opening import Opening, parse_opening
from app.gateway.stats import Stats
from app.tokens import Claims

SOCKET_PATH: Final = "/v1/socket"
RETRY_AFTER_S: Final = (2, 10)  # spread, so that those turned away do not all come back at once
METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="moments"'}


@dataclass(frozen=True, slots=True)
class Admission:
    """A request that becomes a socket, once `response` (101) has been sent."""

    response: Response
    opening: Opening
    claims: Claims
    encoding: Encoding


@dataclass(frozen=True, slots=True)
class Operations:
    """What is said of this process. `unready` gives the reason why it is not ready, if any."""

    unready: Callable[[], str | None] = lambda: None
    metrics: Callable[[], bytes] = lambda: b""


class Door:
    """Closed for sockets when the gateway shuts down; health and metrics go on being answered."""

    def __init__(
        self,
        limits: Limits,
        stats: Stats,
        notices: Notices,
        verify: Verify,
        operations: Operations,
        *,
        sockets_of: Callable[[str], int],
    ) -> None:
        self._limits = limits
        self._stats = stats
        self._notices = notices
        self._verify = verify
        self._operations = operations
        self._sockets_of = sockets_of
        self._is_open = True

    def close(self) -> None:
        self._is_open = False

    def answer(self, request: Request, protocol: ServerProtocol) -> Response | Admission:
        """What to send. A response other than an admission's ends the connection."""
        path, _, query = request.path.partition("?")
        if path == SOCKET_PATH:
            result = self._admit(request, query, protocol)
        else:
            result = self._operate(request.method, path)
        return self._count(result) if isinstance(result, Response) else result

    def crowd_out(self, address: str) -> Response:
        """The answer to one connection too many of an address."""
        limit = "connections_per_address_max"
        self._stats.sockets_refused[limit] += 1
        self._notices.tell(limit, "a connection was refused", address=address)
        most = self._limits.connections_per_address_max
        return self._count(_later(f"{address} has {most} connections open here already."))

    def turn_away(self, status: int, detail: str) -> Response:
        """The answer to what is not a request that could be looked at."""
        return self._count(problem(status, detail))

    def _count(self, response: Response) -> Response:
        self._stats.requests[response.status_code] += 1
        return response

    def _operate(self, method: str, path: str) -> Response:
        known = {"/healthz": self._health, "/readyz": self._readiness, "/metrics": self._metrics}
        if path not in known:
            return problem(404, f"Sockets are at {SOCKET_PATH}; besides: {', '.join(known)}.")
        if method not in ("GET", "HEAD"):
            return problem(405, f"{path} is for GET.", {"Allow": "GET, HEAD"})
        response = known[path]()
        if method == "HEAD":
            response.body = b""  # Content-Length stays what GET would give (RFC 9110, 9.3.2)
        return response

    def _health(self) -> Response:
        return answer(200, b"ok\n")

    def _readiness(self) -> Response:
        reason = "shutting down" if not self._is_open else self._operations.unready()
        return answer(200, b"ready\n") if reason is None else problem(503, f"Not ready: {reason}.")

    def _metrics(self) -> Response:
        return answer(200, self._operations.metrics(), METRICS_TYPE)

    def _admit(
        self, request: Request, query: str, protocol: ServerProtocol
    ) -> Response | Admission:
        response = protocol.accept(request)
        if response.status_code != 101:
            return _not_an_upgrade(response, protocol)
        try:
            opening = parse_opening(query)
        except Rejected as error:
            return problem(400, f"{error}.")
        try:
            claims = self._verify(_token(opening, request))
        except BadToken as error:
            return problem(401, f"The token does not hold: {error}.", CHALLENGE)
        if (refusal := self._refusal(claims.user)) is not None:
            return self._refuse(*refusal, claims.user)
        encoding = ENCODINGS.get(protocol.subprotocol or "", JSON)
        return Admission(response, opening, claims, encoding)

    def _refusal(self, user: str) -> tuple[str, str] | None:
        """The limit that is reached, if any, and how to say it."""
        limits = self._limits
        if not self._is_open:
            return "shutdown", "This gateway is shutting down."
        if self._stats.sockets_open >= limits.sockets_max:
            return "sockets_max", f"This gateway holds {limits.sockets_max} sockets, all it may."
        if self._sockets_of(user) >= (most := limits.sockets_per_user_max):
            return "sockets_per_user_max", f"You have {most} sockets open here already."
        return None

    def _refuse(self, limit: str, reason: str, user: str) -> Response:
        self._stats.sockets_refused[limit] += 1
        self._notices.tell(limit, "a socket was refused", user=user)
        return _later(reason)


def _later(reason: str) -> Response:
    return problem(503, reason, {"Retry-After": str(random.randint(*RETRY_AFTER_S))})


def _token(opening: Opening, request: Request) -> str:
    """The query's, because browsers cannot set headers here; else the header's."""
    if opening.token is not None:
        return opening.token
    for field in request.headers.get_all("Authorization"):
        scheme, _, token = field.partition(" ")
        if scheme.lower() == "bearer":
            return token.strip()
    raise BadToken("there is none: send it as the parameter `token`")


def _not_an_upgrade(response: Response, protocol: ServerProtocol) -> Response:
    """What the handshake found wrong, told like everything else."""
    headers = {
        name: response.headers[name] for name in ("Upgrade", "Allow") if name in response.headers
    }
    return problem(response.status_code, f"{protocol.handshake_exc}.", headers)
