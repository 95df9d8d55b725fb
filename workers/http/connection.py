"""One connection to a server: writes a request, reads its answer, knows whether it can go on."""

import asyncio
import ssl
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, cast

import httptools

from app.domain.attempt import Failure, Outcome
from workers.http.exchange import Exchange
from workers.http.head import ends_with_connection, head_size, retry_after
from workers.http.limits import Limits
from workers.http.origin import Origin

if TYPE_CHECKING:
    from workers.http.pool import Pool

_STATUS_MIN, _STATUS_MAX = 100, 599
_STATUS_FINAL = 200
_STATUS_SWITCHING = 101
# From here on an answer may say when to come again.
_STATUS_REDIRECT = 300


class _Refused(Exception):
    """Stops the parser: what it reads is not, or no longer, an answer to our request."""


class Connection(asyncio.BufferedProtocol):
    """Carries one exchange at a time, the first from the moment it is up.

    `deadline` is when the exchange must be over or, between exchanges, when the connection has
    been idle long enough (`time.monotonic`). `origin` and `is_counted` are the pool's notes: whose
    connection this is, and whether it still takes a place. `overdue` is what it means for an
    exchange that its deadline comes while the connection is being set up.

    It reads into one buffer that all connections share (`Pool.buffer`), since what is read is
    dealt with at once. Left to itself, TLS allocates 256 KiB for every read.

    The methods `on_…` are called by the parser, from within `buffer_updated`.
    """

    __slots__ = (
        "_buffer",
        "_bytes_checked",
        "_excerpt",
        "_exchange",
        "_feed",
        "_has_served",
        "_head",
        "_interims",
        "_is_complete",
        "_is_kept_alive",
        "_limits",
        "_parser",
        "_pool",
        "_received",
        "_status",
        "_transport",
        "deadline",
        "is_counted",
        "origin",
        "overdue",
    )

    def __init__(self, pool: "Pool", origin: Origin, limits: Limits, first: Exchange) -> None:
        self._pool = pool
        self._buffer = pool.buffer
        self._limits = limits
        self._bytes_checked = min(limits.head_bytes_max, limits.body_bytes_max)
        self._exchange: Exchange | None = first
        self._transport: asyncio.Transport | None = None
        self._has_served = False
        self.origin = origin
        self.deadline = inf
        self.overdue = Failure.TIMEOUT
        self.is_counted = True

    # What the pool does with it

    def start(self, exchange: Exchange) -> None:
        """Write the request. Its outcome comes by `Pool.finished`, or `Pool.resend`."""
        self._exchange = exchange
        exchange.connection = self
        self.deadline = exchange.deadline
        self._received = self._status = self._interims = 0
        self._head = self._excerpt = b""
        self._is_complete = False
        transport = self._transport
        assert transport is not None
        transport.write(exchange.payload)

    def fail(self, failure: Failure) -> None:
        """End the exchange, if there is one, with this outcome, and the connection with it."""
        if self._exchange is not None and self._exchange.connection is self:
            self._finish(failure, is_reusable=False)
        self.abort()

    def abort(self) -> None:
        """Break the connection now. An exchange on it comes to no outcome."""
        self._exchange = None
        self.deadline = inf
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close the idle connection as the protocol wants it (TLS says goodbye first)."""
        if self._transport is not None:
            self._transport.close()

    @property
    def is_up(self) -> bool:
        return self._transport is not None

    @property
    def is_busy(self) -> bool:
        return self._exchange is not None

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpResponseParser(self)
        self._feed = self._parser.feed_data
        first = self._exchange
        if first is None or not self._pool.connected(first):
            self.abort()
        else:
            self.start(first)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._exchange is None:
            self._pool.ended(self, is_intruded=True)
            return
        data = self._buffer[:nbytes]
        self._received += nbytes
        if not self._status:
            self._head += data
        is_sound = True
        try:
            self._feed(data)
        except httptools.HttpParserError:
            is_sound = False
        if self._received > self._bytes_checked and self._is_too_long():
            return
        if self._is_complete:
            self._finish(None, is_sound and self._is_kept_alive)
        elif not is_sound:
            self.fail(Failure.PROTOCOL)

    def eof_received(self) -> None:
        if self._exchange is None:
            self._pool.ended(self, is_intruded=False)
        else:
            self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._exchange is not None:
            self._end(exc)
        self._transport = None
        # The parser holds our methods: without this only the garbage collector would free both.
        del self._parser, self._feed
        self._pool.lost(self)

    # What the parser calls

    def on_message_begin(self) -> None:
        if self._is_complete:
            raise _Refused

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if _STATUS_FINAL <= status <= _STATUS_MAX:
            self._status = status
            return
        self._interims += 1
        is_interim = _STATUS_MIN <= status < _STATUS_FINAL and status != _STATUS_SWITCHING
        if not is_interim or self._interims > self._limits.interim_responses_max:
            raise _Refused

    def on_chunk_header(self) -> None:
        if not self._status:
            raise _Refused

    def on_body(self, body: bytes) -> None:
        # The parser takes a body, which may be the answer, for that of an interim answer it does
        # not know. There is none (RFC 9112, 6.3).
        if not self._status:
            raise _Refused
        missing = self._limits.excerpt_bytes_max - len(self._excerpt)
        if missing > 0:
            self._excerpt += body[:missing]

    def on_message_complete(self) -> None:
        if self._status:
            self._is_complete = True
            # Asked here, because the parser forgets it with the message.
            self._is_kept_alive = self._parser.should_keep_alive()

    # How an exchange ends

    def _is_too_long(self) -> bool:
        """Whether the answer has passed a limit; the exchange is over then.

        A body that goes on too long spoils nothing: the status line has said what became of the
        request. It is not read to its end, so the connection cannot be used again.
        """
        size = head_size(self._head, self._interims) if self._status else self._received
        if size > self._limits.head_bytes_max:
            self.fail(Failure.PROTOCOL)
        elif self._received - size > self._limits.body_bytes_max:
            self._pool.stats.truncated_total += 1
            self._finish(None, is_reusable=False)
        else:
            return False
        return True

    def _end(self, error: Exception | None) -> None:
        """The server ended the connection during an exchange: cleanly, or with an error."""
        exchange = self._exchange
        assert exchange is not None
        if not self._received and self._has_served and not exchange.is_resent:
            self._exchange = None
            self._pool.resend(self, exchange)
        elif error is None and self._status and ends_with_connection(self._head):
            self._finish(None, is_reusable=False)
        else:
            self.fail(_failure_at_end(error, self._received))

    def _finish(self, failure: Failure | None, is_reusable: bool) -> None:
        exchange = self._exchange
        assert exchange is not None
        self._exchange = None
        reused, self._has_served = self._has_served, True
        now = monotonic()
        self.deadline = now + self._limits.idle_s
        status = self._status
        outcome = Outcome(
            status,
            failure,
            (now - exchange.started) * 1000.0,
            retry_after(self._head) if status >= _STATUS_REDIRECT else None,
            self._excerpt,
            reused,
        )
        self._head = b""
        self._pool.finished(self, exchange, outcome, is_reusable)


def _failure_at_end(error: Exception | None, received: int) -> Failure:
    """What it means that the connection ended before the answer did."""
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        return Failure.TLS
    if error is None and received:
        return Failure.PROTOCOL
    return Failure.RESET
