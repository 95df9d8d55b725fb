"""A receiver of webhooks: takes requests on real sockets, checks signatures, answers as told.

For trying things out and for tests; it is what a well-made receiver does, in the small.
"""

import asyncio
import json
import math
import random
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, cast
from urllib.parse import parse_qsl

import httptools

from app.clock import now_ms
from app.domain.signature import ID, Verdict, verify

ATTEMPT = "moments-attempt"

BODY_MAX = 1024 * 1024
HEAD_MAX = 64 * 1024
CONNECTIONS_MAX = 4_096
ACCEPTED_MAX = 100_000  # ids remembered to tell duplicates

_BODILESS = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How requests are answered: `fail` of them (0 to 1) with `status`, the others with 204.

    The first `fail_first` attempts of each delivery fail in any case. All answers come after
    `delay_s`, which may be infinite: then none comes. With a `path` every other one is answered
    with 404.
    """

    fail: float = 0.0
    status: int = 503
    delay_s: float = 0.0
    path: str | None = None
    fail_first: int = 0


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came, what was found about it, and the status it is answered with.

    `headers` have their names in lower case. `verdict` is None when there is no secret to check
    with. `duplicate` means that a request with this `webhook-id` was accepted before.
    """

    at_ms: int
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    verdict: Verdict | None
    duplicate: bool
    status: int

    @property
    def id(self) -> str:
        return self.headers.get(ID, "")

    @property
    def attempt(self) -> str:
        return self.headers.get(ATTEMPT, "")

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def event(self) -> dict[str, Any]:
        """What the request tells: its JSON body, or without one its query; {} for anything else."""
        if not self.body:
            return dict(parse_qsl(self.target.partition("?")[2]))
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return cast(dict[str, Any], value) if isinstance(value, dict) else {}


@dataclass(slots=True)
class Tally:
    """What has come so far."""

    requests: int = 0
    duplicates: int = 0
    verdicts: Counter[Verdict | None] = field(default_factory=Counter[Verdict | None])
    statuses: Counter[int] = field(default_factory=Counter[int])

    def note(self, received: Received) -> None:
        self.requests += 1
        self.duplicates += received.duplicate
        self.verdicts[received.verdict] += 1
        self.statuses[received.status] += 1


class Receiver:
    """Listens from `start` to `stop` and tells `on_request` of every complete request.

    `secrets` are the live ones: a request that none of them verifies is answered with 401. Raises
    BadSecret for one that is none. `behaviour` may be changed at any time. `seed` makes the same
    requests fail in every run.
    """

    def __init__(
        self,
        secrets: Sequence[str] = (),
        behaviour: Behaviour = Behaviour(),
        on_request: Callable[[Received], None] = lambda _: None,
        seed: int | None = None,
    ) -> None:
        self.behaviour = behaviour
        self.tally = Tally()
        self.connections: set[_Connection] = set()
        self._secrets = tuple(secrets)
        self._on_request = on_request
        self._random = random.Random(seed)
        self._accepted: OrderedDict[str, None] = OrderedDict()
        self._server: asyncio.Server | None = None
        for secret in self._secrets:
            verify(secret, {}, b"", 0.0)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listens, and returns the port: the one given, or for 0 a free one. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), host, port, backlog=1024)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stops listening and cuts what is open."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self.connections):
            connection.cut()
        await self._server.wait_closed()
        self._server = None

    def receive(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Received:
        """Judges a complete request and decides its answer."""
        at_ms = now_ms()
        verdict = self._verify(headers, body, at_ms / 1000)
        id_ = headers.get(ID, "")
        status = self._status(target, headers.get(ATTEMPT, ""), verdict)
        duplicate = bool(id_) and id_ in self._accepted
        received = Received(at_ms, method, target, headers, body, verdict, duplicate, status)
        if id_ and status < 300:
            self._remember(id_)
        self.tally.note(received)
        self._on_request(received)
        return received

    def _verify(self, headers: Mapping[str, str], body: bytes, now_s: float) -> Verdict | None:
        verdict = None
        for secret in self._secrets:
            verdict = verify(secret, headers, body, now_s)
            if verdict:
                return verdict
        return verdict

    def _status(self, target: str, attempt: str, verdict: Verdict | None) -> int:
        behaviour = self.behaviour
        if behaviour.path is not None and target.partition("?")[0] != behaviour.path:
            return 404
        if verdict is not None and not verdict:
            return 401
        is_early = attempt.isdecimal() and int(attempt) <= behaviour.fail_first
        fails = is_early or self._random.random() < behaviour.fail
        return behaviour.status if fails else 204

    def _remember(self, id_: str) -> None:
        self._accepted[id_] = None
        if len(self._accepted) > ACCEPTED_MAX:
            self._accepted.popitem(last=False)


class _TooLarge(Exception):
    """The request does not fit; `status` says which part of it."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Connection(asyncio.Protocol):
    """One connection. Requests that come in one read are answered one after the other, and
    nothing more is read before they are.
    """

    _transport: asyncio.Transport

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[Received, bool]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._clear()

    def _clear(self) -> None:
        self._target = b""
        self._headers: dict[str, str] = {}
        self._head_size = 0
        self._body: list[bytes] = []
        self._body_size = 0

    # Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        if len(self._receiver.connections) >= CONNECTIONS_MAX:
            self._transport.abort()
            return
        self._receiver.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._receiver.connections.discard(self)
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except _TooLarge as error:
            self._refuse(error.status)
        except httptools.HttpParserError as error:
            cause = error.__context__  # what a callback raised
            self._refuse(cause.status if isinstance(cause, _TooLarge) else 400)

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._timer is None:
            self._transport.resume_reading()

    def cut(self) -> None:
        self._transport.abort()

    # Parser

    def on_url(self, url: bytes) -> None:
        self._grow_head(len(url))
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grow_head(len(name) + len(value))
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body_size += len(body)
        if self._body_size > BODY_MAX:
            raise _TooLarge(413)
        self._body.append(body)

    def on_message_complete(self) -> None:
        received = self._receiver.receive(
            self._parser.get_method().decode("latin-1"),
            self._target.decode("latin-1"),
            self._headers,
            b"".join(self._body),
        )
        self._waiting.append((received, self._parser.should_keep_alive()))
        self._clear()
        if self._timer is None:
            self._answer_waiting()

    def _grow_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > HEAD_MAX:
            raise _TooLarge(431)

    # Answers

    def _answer_waiting(self) -> None:
        """Answers what waits, each after the delay; until then nothing more is read."""
        while self._waiting and not self._transport.is_closing():
            delay_s = self._receiver.behaviour.delay_s
            if delay_s == math.inf:  # reads on, to see when the other side gives up
                return
            if delay_s > 0:
                self._transport.pause_reading()
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(delay_s, self._answer_late)
                return
            self._answer_next()

    def _answer_late(self) -> None:
        self._timer = None
        self._answer_next()
        self._answer_waiting()
        if self._timer is None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _answer_next(self) -> None:
        received, keep_alive = self._waiting.popleft()
        self._transport.write(_answer(received.status, keep_alive))
        if not keep_alive:
            self._transport.close()

    def _refuse(self, status: int) -> None:
        if not self._transport.is_closing():
            self._transport.write(_answer(status, keep_alive=False))
            self._transport.close()


_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}


def _answer(status: int, keep_alive: bool) -> bytes:
    head = f"HTTP/1.1 {status} {_PHRASES.get(status, 'Unknown')}\r\n"
    if status not in _BODILESS:
        head += "content-length: 0\r\n"
    return (head + ("\r\n" if keep_alive else "connection: close\r\n\r\n")).encode()
