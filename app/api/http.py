"""The HTTP/1.1 connection: uvicorn's, with the bounds that it lacks.

uvicorn takes a head, or the trailers of a body, of any length and for any time, from any number of
connections, and keeps an answer for as long as its client does not read it. Here each of these
ends with a problem that says why, or with the connection.
"""

import asyncio
import logging
from asyncio import TimerHandle
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.api.problems import (
    HEAD_TIMEOUT,
    HEAD_TOO_LARGE,
    NOT_HTTP,
    TOO_MANY_CONNECTIONS,
    Problem,
)
from app.api.refusals import Refusals
from app.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Limits of connections.

    `head_bytes_max` may be passed by what one read brings. `stall_timeout_s` is how long a client
    may read nothing of an answer, `linger_s` how long what follows an early answer is still taken.
    """

    connections_max: int = 4_096
    head_bytes_max: int = 64 * 1024
    head_timeout_s: float = 10.0
    stall_timeout_s: float = 30.0
    linger_s: float = 5.0

    @classmethod
    def of(cls, settings: Settings) -> "HttpLimits":
        return cls(connections_max=settings.connections_max, head_timeout_s=settings.head_timeout_s)


@dataclass(slots=True)
class Connections:
    """What all connections of a process share."""

    limits: HttpLimits
    refusals: Refusals
    open: int = 0
    stalled: int = 0  # cut, because their client read nothing


class BoundedHttp(HttpToolsProtocol):
    """One connection. `alarm` is what ends a head, or what follows an answer, that never ends."""

    def __init__(self, *args: Any, shared: Connections, **named: Any) -> None:
        super().__init__(*args, **named)
        self._shared = shared
        self._limits = shared.limits
        self._in_head = True  # of the next request, from the end of the one before
        self._unread = 0  # bytes of this head; within a body, those that brought nothing of it
        self._alarm: TimerHandle | None = None
        self._stall: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._shared.open += 1
        if self._shared.open > self._limits.connections_max:
            detail = f"{self._limits.connections_max} connections are open already."
            self._refuse(Problem(TOO_MANY_CONNECTIONS, detail, headers={"Retry-After": "1"}))
            return
        self._set_alarm(self._limits.head_timeout_s, self._on_late_head)

    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.open -= 1
        self._cancel_alarm()
        self._cancel_stall()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._unread += len(data)
        super().data_received(data)
        if self._unread > self._limits.head_bytes_max:
            self._refuse(Problem(HEAD_TOO_LARGE, f"At most {self._limits.head_bytes_max} bytes."))
        elif self._in_head and self._unread and self._alarm is None:
            self._set_alarm(self._limits.head_timeout_s, self._on_late_head)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # else it is a trailer, of which nobody here asks for any
            super().on_header(name, value)

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
        if self.cycle.response_complete:  # uvicorn's own timer ended with the first byte since
            self._set_alarm(self.timeout_keep_alive, self._on_late_head)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._in_head and self.cycle.response_complete:
            self._set_alarm(self._limits.linger_s, self.transport.close)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._cancel_stall()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn for what its parser cannot read."""
        self._refuse(Problem(NOT_HTTP, msg))

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

    def _watch(self, unsent: int) -> None:
        """Looks again later whether the client has read anything."""
        self._cancel_stall()
        self._stall = self.loop.call_later(self._limits.stall_timeout_s, self._on_stall, unsent)

    def _on_stall(self, before: int) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent < before:
            self._watch(unsent)
            return
        self._shared.stalled += 1
        log.info("client reads nothing", extra={"unsent_bytes": unsent})
        self.transport.abort()

    def _set_alarm(self, delay_s: float, ring: Any) -> None:
        self._cancel_alarm()
        self._alarm = self.loop.call_later(delay_s, ring)

    def _cancel_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _cancel_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
