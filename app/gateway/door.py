"""Who gets in: answers a request over HTTP, or lets it become a socket."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from websockets.exceptions import InvalidOrigin, NegotiationError
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol

from app.domain.socket import SOCKET_PATH
from app.errors import BadToken, Rejected
from app.gateway.answers import answer, problem
from app.gateway.context import Verify
from app.gateway.encoding import ENCODINGS, JSON, Encoding
from app.gateway.incoming import quiet
from app.gateway.limits import Limits
from app.gateway.notices import Notices
from app.gateway.opening import Opening, parse_opening
from app.gateway.stats import Stats
from app.settings import Settings
from app.tokens import Claims

RETRY_AFTER_S: Final = (2, 10)  # spread, so that those turned away do not all come back at once
METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="moments"'}
ORIGIN_CHARS_MAX: Final = 100  # of one that is told in a log line

_SUBPROTOCOLS: Final = [Subprotocol(name) for name in ENCODINGS]


@dataclass(frozen=True, slots=True)
class Rules:
    """Who may ask at all; named as the settings are.

    `allow_origins` empty: the pages of any origin. Nothing a browser adds to a request by itself
    opens a socket, so that a page of somebody else has nothing to open one with.
    """

    allow_origins: tuple[str, ...] = ()
    token_by_message: bool = True

    @classmethod
    def of(cls, settings: Settings) -> "Rules":
        return cls(settings.allow_origins, settings.token_by_message)


@dataclass(frozen=True, slots=True)
class Admission:
    """A request that becomes a socket, once `response` (101) has been sent. `claims` None: whose
    it is its first message has to tell."""

    response: Response
    opening: Opening
    claims: Claims | None
    encoding: Encoding


@dataclass(frozen=True, slots=True)
class Full:
    """Why there is no room for a socket, and when there may be."""

    reason: str
    retry_after_s: int


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
        rules: Rules | None = None,
    ) -> None:
        self._limits = limits
        self._stats = stats
        self._notices = notices
        self._verify = verify
        self._operations = operations
        self._sockets_of = sockets_of
        self._rules = rules or Rules()
        # None stands for a request without an Origin.
        self._origins = [None, *map(Origin, self._rules.allow_origins)]
        self._is_open = True

    def close(self) -> None:
        self._is_open = False

    def protocol(self) -> ServerProtocol:
        """For one handshake, with what is judged of it before anything else."""
        return ServerProtocol(
            origins=self._origins if self._rules.allow_origins else None,
            subprotocols=_SUBPROTOCOLS,
            select_subprotocol=_select,
            logger=quiet,
        )

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
        reason = f"{address} has {most} connections open here already."
        return self._count(_later(Full(reason, random.randint(*RETRY_AFTER_S))))

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
        if isinstance(protocol.handshake_exc, InvalidOrigin):
            return self._refuse_origin(protocol.handshake_exc.value or "")
        if response.status_code != 101:
            return _not_an_upgrade(response, protocol)
        try:
            opening = parse_opening(query)
        except Rejected as error:
            return problem(400, f"{error}.")
        try:
            claims = self._claims(_token(opening, request))
        except BadToken as error:
            return problem(401, f"The token does not hold: {error}.", CHALLENGE)
        if (full := self.no_room_for(claims and claims.user)) is not None:
            return _later(full)
        encoding = ENCODINGS.get(protocol.subprotocol or "", JSON)
        return Admission(response, opening, claims, encoding)

    def _claims(self, token: str | None) -> Claims | None:
        """None: they come by message. Raises `BadToken`."""
        if token is not None:
            return self._verify(token)
        if self._rules.token_by_message:
            return None
        raise BadToken("there is none: send it as the parameter `token`")

    def no_room_for(self, user: str | None) -> Full | None:
        """None when there is room for one more socket of this user, or of one not known yet.

        Otherwise this is counted, and told in the log.
        """
        limits = self._limits
        if not self._is_open:
            return self._full("shutdown", "This gateway is shutting down.", user)
        stats = self._stats
        if stats.sockets_open + stats.tokens_awaited >= (most := limits.sockets_max):
            return self._full(
                "sockets_max", f"This gateway holds {most} sockets, all it may.", user
            )
        if user is not None and self._sockets_of(user) >= (most := limits.sockets_per_user_max):
            return self._full(
                "sockets_per_user_max", f"You have {most} sockets open here already.", user
            )
        return None

    def _full(self, limit: str, reason: str, user: str | None) -> Full:
        self._stats.sockets_refused[limit] += 1
        self._notices.tell(limit, "a socket was refused", **({"user": user} if user else {}))
        return Full(reason, random.randint(*RETRY_AFTER_S))

    def _refuse_origin(self, origin: str) -> Response:
        self._stats.sockets_refused["allow_origins"] += 1
        told = origin[:ORIGIN_CHARS_MAX]
        self._notices.tell("allow_origins", "a socket was refused", origin=told)
        return problem(403, "The pages of this origin may not open sockets here.")


def _later(full: Full) -> Response:
    return problem(503, full.reason, {"Retry-After": str(full.retry_after_s)})


def _token(opening: Opening, request: Request) -> str | None:
    """The query's, because browsers cannot set headers here; else the header's."""
    if opening.token is not None:
        return opening.token
    for field in request.headers.get_all("Authorization"):
        scheme, _, token = field.partition(" ")
        if scheme.lower() == "bearer":
            return token.strip()
    return None


def _select(_: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """The client's first choice that we know; a client that offers none gets JSON."""
    if not offered:
        return None
    for subprotocol in offered:
        if subprotocol in ENCODINGS:
            return subprotocol
    raise NegotiationError(f"none of the subprotocols is known, which are {', '.join(ENCODINGS)}")


def _not_an_upgrade(response: Response, protocol: ServerProtocol) -> Response:
    """What the handshake found wrong, told like everything else."""
    headers = {
        name: response.headers[name] for name in ("Upgrade", "Allow") if name in response.headers
    }
    return problem(response.status_code, f"{protocol.handshake_exc}.", headers)
