"""The HTTP/1.1 connection: uvicorn's, with the bounds that it lacks.

uvicorn takes a head, or the trailers of a body, of any length and for any time, from any number of
connections, and keeps an answer for as long as its client does not read it. Here each of these
ends with a problem that says why, or with the connection.
"""

import asyncio
import logging
from asyncio import TimerHandle
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from app.api.problems import (
    HEAD_TIMEOUT,
    HEAD_TOO_LARGE,
    NOT_HTTP,
    TOO_MANY_CONNECTIONS,
    TOO_MANY_HEADERS,
    TOO_MANY_OF_ADDRESS,
    Problem,
)
from app.api.refusals import Refusals
from app.domain.address import Network
from app.domain.client import Addresses
from app.settings import Settings

log = logging.getLogger(__name__)

SOCKET_LINE_BYTES_MAX: Final = 8_000  # of a head that asks for a socket; `websockets` takes 8,192
_OF_BODY: Final = frozenset({b"content-length", b"transfer-encoding"})
_AROUND_HEADER: Final = 4  # bytes: a colon, a space and the end of the line


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Limits of connections.

    `connections_per_address_max` is 0 for any number; those of `trusted_proxies` are many clients',
    and not counted for it. `stall_timeout_s` is how long a client may read nothing of an answer,
    `linger_s` how long what follows an early answer is still taken.
    """

    connections_max: int = 4_096
    connections_per_address_max: int = 0
    trusted_proxies: tuple[Network, ...] = ()
    headers_max: int = 100
    head_bytes_max: int = 64 * 1024
    head_timeout_s: float = 10.0
    stall_timeout_s: float = 30.0
    linger_s: float = 5.0

    @classmethod
    def of(cls, settings: Settings) -> "HttpLimits":
        return cls(
            connections_max=settings.connections_max,
            connections_per_address_max=settings.connections_per_address_max,
            trusted_proxies=settings.trusted_proxies,
            headers_max=settings.headers_max,
            head_bytes_max=settings.head_bytes_max,
            head_timeout_s=settings.head_timeout_s,
        )


@dataclass(slots=True)
class Connections:
    """What all connections of a process share."""

    limits: HttpLimits
    refusals: Refusals
    socket_path: str | None = None  # the one path where a connection may become a socket
    open: int = 0
    stalled: int = 0  # cut, because their client read nothing
    addresses: Addresses = field(init=False)

    def __post_init__(self) -> None:
        limits = self.limits
        self.addresses = Addresses(limits.connections_per_address_max, limits.trusted_proxies)


class Stall:
    """Cuts a connection whose client reads nothing for too long while something is to be sent."""

    def __init__(self, shared: Connections, loop: asyncio.AbstractEventLoop) -> None:
        self._shared = shared
        self._loop = loop
        self._timer: TimerHandle | None = None

    def begin(self, transport: asyncio.Transport) -> None:
        """Looks again later whether the client has read anything."""
        self.end()
        self._timer = self._loop.call_later(
            self._shared.limits.stall_timeout_s,
            self._look,
            transport,
            transport.get_write_buffer_size(),
        )

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, transport: asyncio.Transport, before: int) -> None:
        unsent = transport.get_write_buffer_size()
        if unsent < before:
            self.begin(transport)
            return
        self._shared.stalled += 1
        log.info("client reads nothing", extra={"unsent_bytes": unsent})
        transport.abort()


class BoundedHttp(HttpToolsProtocol):
    """One connection. `alarm` is what ends a head, or what follows an answer, that never ends."""

    def __init__(self, *args: Any, shared: Connections, **named: Any) -> None:
        super().__init__(*args, **named)
        self._shared = shared
        self._limits = shared.limits
        self._address: str | None = None  # that it is counted for
        self._in_head = True  # of the next request, from the end of the one before
        self._head_bytes = 0  # of what has ended of this head: its line, its headers one by one
        self._wrong: Problem | None = None  # what the parser was stopped for
        self._unread = 0  # bytes of this head; within a body, those that brought nothing of it
        self._alarm: TimerHandle | None = None
        self._stall = Stall(shared, self.loop)

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._shared.open += 1
        if self._shared.open > self._limits.connections_max:
            detail = f"{self._limits.connections_max} connections are open already."
            self._refuse(Problem(TOO_MANY_CONNECTIONS, detail, headers={"Retry-After": "1"}))
            return
        addresses = self._shared.addresses
        address = addresses.counted(self.client[0] if self.client else None)
        if address is not None and not addresses.enter(address):
            most = self._limits.connections_per_address_max
            detail = f"{address} has {most} connections open already."
            self._refuse(Problem(TOO_MANY_OF_ADDRESS, detail, headers={"Retry-After": "1"}))
            return
        self._address = address
        self._set_alarm(self._limits.head_timeout_s, self._on_late_head)

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self._cancel_alarm()
        self._stall.end()
        super().connection_lost(exc)

    def _leave(self) -> None:
        self._shared.open -= 1
        if self._address is not None:
            self._shared.addresses.leave(self._address)

    # Becoming a socket

    def _should_upgrade(self) -> bool:
        """At the one path that has a socket, not into the midst of an answer, and only what whoever
        takes over can read: what they cannot would stay without an answer."""
        if self.url.partition(b"?")[0] != (self._shared.socket_path or "").encode():
            return False
        is_free = self.cycle is None or self.cycle.response_complete  # pyright: ignore[reportUnnecessaryComparison]
        return (
            is_free
            and self.scope["method"] == "GET"
            and len(self.url) < SOCKET_LINE_BYTES_MAX
            and all(
                len(name) + len(value) < SOCKET_LINE_BYTES_MAX and name not in _OF_BODY
                for name, value in self.headers
            )
            and super()._should_upgrade()
        )

    def _unsupported_upgrade_warning(self) -> None:
        """Whoever wants another protocol is answered in this one; that is not worth a line."""

    def handle_websocket_upgrade(self) -> None:
        self._cancel_alarm()
        self._stall.end()
        made = self.ws_protocol_class
        assert made is not None
        # It counts as a connection until it has ended as what it has become.
        self.ws_protocol_class = cast(Any, partial(made, shared=self._shared, leave=self._leave))
        super().handle_websocket_upgrade()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._unread += len(data)
        super().data_received(data)
        if self._unread > self._limits.head_bytes_max:
            self._refuse(self._head_too_large())
        elif self._in_head and self._unread and self._alarm is None:
            self._set_alarm(self._limits.head_timeout_s, self._on_late_head)

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._head_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:  # it is a trailer, of which nobody here asks for any
            return
        super().on_header(name, value)
        self._head_bytes += len(name) + len(value) + _AROUND_HEADER
        if self._head_bytes > self._limits.head_bytes_max:
            self._stop_parser(self._head_too_large())
        elif len(self.headers) > self._limits.headers_max:
            detail = f"At most {self._limits.headers_max} headers."
            self._stop_parser(Problem(TOO_MANY_HEADERS, detail))

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._unread = 0
        self._cancel_alarm()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_head = True
        self._unread = 0
        self._cancel_alarm()
        super().on_message_complete()
        if self.parser and self.parser.should_upgrade() and self._should_upgrade():
            return
        if self.cycle.response_complete:  # uvicorn's own timer ended with the first byte since
            self._set_alarm(self.timeout_keep_alive, self._on_late_head)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._in_head and self.cycle.response_complete:
            self._set_alarm(self._limits.linger_s, self.transport.close)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall.begin(self.transport)

    def resume_writing(self) -> None:
        self._stall.end()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn for what its parser cannot read, and when it was stopped."""
        self._refuse(self._wrong or Problem(NOT_HTTP, msg))

    def _stop_parser(self, problem: Problem) -> None:
        """Nothing more of what was read is looked at: what a callback raises ends the parsing."""
        self._wrong = problem
        raise problem

    def _head_too_large(self) -> Problem:
        return Problem(HEAD_TOO_LARGE, f"At most {self._limits.head_bytes_max} bytes.")

    def _on_late_head(self) -> None:
        self._alarm = None
        if self._unread:
            seconds = f"{self._limits.head_timeout_s:g} s"
            self._refuse(Problem(HEAD_TIMEOUT, f"The head did not come within {seconds}."))
        else:
            self.transport.close()

    def _refuse(self, problem: Problem) -> None:
        """Answers and closes; only closes where the answer would go into the midst of another."""
        if self.transport.is_closing():
            return
        self._shared.refusals.note(problem.kind, problem.detail)
        if self.cycle is None or self.cycle.response_complete:  # pyright: ignore[reportUnnecessaryComparison]
            answer = problem.answer()
            headers = [
                *self.server_state.default_headers,
                *answer.head(),
                (b"connection", b"close"),
            ]
            lines = [b"%b: %b\r\n" % header for header in headers]
            self.transport.write(
                STATUS_LINE[answer.status] + b"".join(lines) + b"\r\n" + answer.body
            )
        self.transport.close()

    def _set_alarm(self, delay_s: float, ring: Any) -> None:
        self._cancel_alarm()
        self._alarm = self.loop.call_later(delay_s, ring)

    def _cancel_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


class BoundedSocket(WebSocketsSansIOProtocol):
    """A connection that has become a socket: counted until it ends, and cut when its client reads
    nothing of what it is sent. `leave` is called once, at its end."""

    def __init__(
        self, *args: Any, shared: Connections, leave: Callable[[], None], **named: Any
    ) -> None:
        super().__init__(*args, **named)
        self._stall = Stall(shared, self.loop)
        self._leave = leave

    def connection_lost(self, exc: Exception | None) -> None:
        self._stall.end()
        self._leave()
        super().connection_lost(exc)

    def send_receive_event_to_app(self) -> None:
        """A whole message has come. One that is no text is its client's fault, no error of ours."""
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.conn.send_close(1007)
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.pause_reading()  # each ping read would be one pong more to keep
        self._stall.begin(self.transport)

    def resume_writing(self) -> None:
        self._stall.end()
        if not self.read_paused:
            self.transport.resume_reading()
        super().resume_writing()
