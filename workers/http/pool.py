"""The connections of the HTTP client: which one carries a request, and how many there may be."""

import asyncio
import contextlib
import functools
from collections.abc import Callable
from math import inf
from time import monotonic

from app.domain.attempt import Failure, Outcome
from workers.http.alarm import Alarm
from workers.http.connection import Connection
from workers.http.dialer import Dialer
from workers.http.exchange import Exchange
from workers.http.limits import Limits
from workers.http.origin import Origin
from workers.http.setup import NotConnected
from workers.http.stats import Stats

_READ_BYTES = 64 * 1024


class Pool:
    """Keeps connections by origin, under a limit for each and one for all.

    A request takes the idle connection used last; without one it gets a new connection; at a
    limit it waits, first come first served. At the limit for all, the connection that has been
    idle longest makes room, whatever its origin, and origins that wait take turns.
    """

    __slots__ = (
        "_alarm",
        "_connections",
        "_dialer",
        "_dials",
        "_idle",
        "_is_closing",
        "_limits",
        "_loop",
        "_origins",
        "_progress",
        "_starved",
        "_unconnected",
        "buffer",
        "stats",
    )

    def __init__(self, dialer: Dialer, limits: Limits) -> None:
        self._loop = asyncio.get_running_loop()
        self._dialer = dialer
        self._limits = limits
        self._alarm = Alarm(self._sweep)
        self._origins: dict[str, Origin] = {}
        # All that are not gone yet, those being set up among them.
        self._connections: set[Connection] = set()
        # In the order in which they became idle; a dict, because any of them may be taken out.
        self._idle: dict[Connection, None] = {}
        self._unconnected: set[Exchange] = set()
        self._dials: dict[asyncio.Task[NotConnected | None], Connection] = {}
        # Origins with waiting requests that only the limit for all keeps from another connection.
        self._starved: dict[Origin, None] = {}
        self._is_closing = False
        self._progress = asyncio.Event()
        self.buffer = memoryview(bytearray(_READ_BYTES))
        self.stats = Stats(self._idle)

    # What the client calls

    def submit(self, exchange: Exchange) -> None:
        """Carry the exchange to its outcome."""
        self.stats.in_flight += 1
        if exchange.deadline < self._alarm.due:
            self._alarm.set(exchange.deadline)
        origin = self._origins.get(exchange.url.origin)
        if origin is not None and origin.idle:
            connection = origin.idle.pop()
            del self._idle[connection]
            self.stats.reused_total += 1
            connection.start(exchange)
        else:
            self._submit_unconnected(exchange)

    def cancel(self, exchange: Exchange) -> None:
        """Forget the exchange, and break its connection."""
        connection = exchange.connection
        self._detach(exchange)
        self._count_settled(exchange)
        if connection is not None:
            self._break(connection)

    async def close(self, grace_s: float) -> None:
        """Let what is in flight finish, fail the rest as reset, leave nothing open."""
        self._is_closing = True
        try:
            for connection in list(self._idle):
                self._retire(connection)
            await self._wait_until(lambda: not self.stats.in_flight, grace_s)
        finally:
            for exchange in list(self._unconnected):
                self._fail(exchange, Failure.RESET)
            for connection in [each for each in self._connections if each.is_busy]:
                connection.fail(Failure.RESET)
            await self._wait_until(lambda: not self._connections, self._limits.tls_shutdown_s)
            await self._break_all()

    # What connections call

    def connected(self, exchange: Exchange) -> bool:
        """The first exchange of a connection can be sent; False when nobody wants it any more."""
        if exchange.is_settled:
            return False
        exchange.dial = None
        self._unconnected.discard(exchange)
        self.stats.opened_total += 1
        return True

    def finished(
        self, connection: Connection, exchange: Exchange, outcome: Outcome, is_reusable: bool
    ) -> None:
        """The exchange has its outcome, the connection can be used again or must go."""
        origin = connection.origin
        if not is_reusable:
            self._break(connection)
        elif origin.waiting:
            self.stats.reused_total += 1
            connection.start(self._next_waiting(origin))
        elif self._starved or self._is_closing:
            self._break(connection)
        else:
            origin.idle.append(connection)
            self._idle[connection] = None
            if connection.deadline < self._alarm.due:
                self._alarm.set(connection.deadline)
        self._settle(exchange, outcome)

    def resend(self, connection: Connection, exchange: Exchange) -> None:
        """The server closed the idle connection just when the request was written to it.

        It has most likely not seen the request, so this is no failure: the request goes out once
        more, on a new connection. If it was seen after all, the receiver gets a duplicate with the
        same id, which delivery at least once permits.
        """
        self.stats.resent_total += 1
        exchange.is_resent = True
        exchange.connection = None
        self._unconnected.add(exchange)
        connection.origin.waiting.appendleft(exchange)
        self.stats.waiting += 1
        self._break(connection)

    def ended(self, connection: Connection, is_intruded: bool) -> None:
        """The idle connection is of no more use: the server closed it or sent something unasked."""
        if connection in self._idle:
            self.stats.intruded_total += is_intruded
            self._break(connection)

    def lost(self, connection: Connection) -> None:
        """The connection is gone."""
        self._connections.discard(connection)
        self._free_place(connection)
        self._progress.set()

    # Requests without a connection

    def _submit_unconnected(self, exchange: Exchange) -> None:
        key = exchange.url.origin
        origin = self._origins.get(key)
        if origin is None:
            origin = self._origins[key] = Origin(key)
        self._unconnected.add(exchange)
        may_open = origin.open < self._limits.origin_connections_max
        if may_open and self._make_room():
            self._dial(origin, exchange)
        elif self.stats.waiting < self._limits.waiting_max:
            self.stats.waiting += 1
            origin.waiting.append(exchange)
            if may_open:
                self._starved.setdefault(origin)
        else:
            self.stats.refused_total += 1
            self._forget_if_unused(origin)
            # Not at once: the caller has no handle yet.
            self._loop.call_soon(self._fail, exchange, Failure.CONNECT)

    def _next_waiting(self, origin: Origin) -> Exchange:
        exchange = origin.waiting.popleft()
        self.stats.waiting -= 1
        self._unconnected.discard(exchange)
        if not origin.waiting:
            self._starved.pop(origin, None)
        return exchange

    def _serve_starved(self) -> None:
        """Give free places to the origins that wait for one, one each in turn."""
        while self._starved and self._make_room():
            origin = next(iter(self._starved))
            del self._starved[origin]
            exchange = self._next_waiting(origin)
            self._unconnected.add(exchange)
            self._dial(origin, exchange)
            self._note_starved(origin)

    def _note_starved(self, origin: Origin) -> None:
        if origin.waiting and origin.open < self._limits.origin_connections_max:
            self._starved.setdefault(origin)

    def _detach(self, exchange: Exchange) -> None:
        """Take the exchange out of wherever it waits for a connection."""
        self._unconnected.discard(exchange)
        if exchange.dial is not None:
            exchange.dial.cancel()
            exchange.dial = None
            return
        origin = self._origins.get(exchange.url.origin)
        if origin is not None and exchange in origin.waiting:
            origin.waiting.remove(exchange)
            self.stats.waiting -= 1
            if not origin.waiting:
                self._starved.pop(origin, None)
                self._forget_if_unused(origin)

    # Setting connections up

    def _dial(self, origin: Origin, exchange: Exchange) -> None:
        connection = Connection(self, origin, self._limits, exchange)
        self._connections.add(connection)
        origin.open += 1
        self.stats.open += 1
        dial = self._loop.create_task(
            self._dialer.dial(exchange.url, connection, exchange.deadline), name=origin.key
        )
        exchange.dial = dial
        self._dials[dial] = connection
        dial.add_done_callback(functools.partial(self._end_dial, connection, exchange))

    def _end_dial(
        self, connection: Connection, exchange: Exchange, dial: asyncio.Task[NotConnected | None]
    ) -> None:
        """See how the set-up ended. A task that is cancelled may not even have begun."""
        del self._dials[dial]
        self._progress.set()
        failed: NotConnected | None = NotConnected(Failure.CONNECT)
        if not dial.cancelled():
            if (error := dial.exception()) is not None:
                self._report("Setting up a connection failed in an unforeseen way", error)
            else:
                failed = dial.result()
        if failed is not None:
            self._give_up(connection)
            exchange.dial = None
            self._fail(exchange, failed.failure, failed.told)

    def _give_up(self, connection: Connection) -> None:
        """Undo a connection that did not come up, or only just did and is not wanted."""
        if not connection.is_up:
            self._connections.discard(connection)
        self._break(connection)

    # Places

    def _make_room(self) -> bool:
        """Whether another connection may be opened, after closing an idle one if need be."""
        if self.stats.open < self._limits.connections_max:
            return True
        oldest = next(iter(self._idle), None)
        if oldest is None:
            return False
        self.stats.evicted_total += 1
        oldest.abort()
        self._uncount(oldest)
        return True

    def _break(self, connection: Connection) -> None:
        connection.abort()
        self._free_place(connection)

    def _retire(self, connection: Connection) -> None:
        """Close an idle connection in the orderly way; it must be gone soon.

        Never from within a callback of the connection: asyncio's TLS does not stand that.
        """
        self._free_place(connection)
        connection.deadline = monotonic() + self._limits.tls_shutdown_s
        if connection.deadline < self._alarm.due:
            self._alarm.set(connection.deadline)
        connection.close()

    def _free_place(self, connection: Connection) -> None:
        if connection.is_counted:
            self._uncount(connection)
            self._serve_starved()

    def _uncount(self, connection: Connection) -> None:
        origin = connection.origin
        connection.is_counted = False
        origin.open -= 1
        self.stats.open -= 1
        if connection in self._idle:
            del self._idle[connection]
            origin.idle.remove(connection)
        self._note_starved(origin)
        self._forget_if_unused(origin)

    def _forget_if_unused(self, origin: Origin) -> None:
        if not origin.open and not origin.waiting:
            self._origins.pop(origin.key, None)

    # Outcomes

    def _fail(self, exchange: Exchange, failure: Failure, told: bytes = b"") -> None:
        """End an exchange that has no connection."""
        if exchange.is_settled:
            return
        self._detach(exchange)
        duration_ms = (monotonic() - exchange.started) * 1000.0
        excerpt = told[: self._limits.excerpt_bytes_max]
        self._settle(exchange, Outcome(0, failure, duration_ms, excerpt=excerpt))

    def _settle(self, exchange: Exchange, outcome: Outcome) -> None:
        self._count_settled(exchange)
        if outcome.failure is not None:
            self.stats.failures[outcome.failure] += 1
        try:
            exchange.done(outcome)
        except Exception as error:
            # A fault of the caller's, which must not take the connection's next exchange with it.
            self._report("The callback for an outcome failed", error)

    def _count_settled(self, exchange: Exchange) -> None:
        exchange.is_settled = True
        exchange.connection = None
        self.stats.in_flight -= 1
        if self._is_closing:
            self._progress.set()

    def _report(self, message: str, error: BaseException) -> None:
        self._loop.call_exception_handler({"message": message, "exception": error})

    # Time

    def _sweep(self, now: float) -> float:
        for connection in [each for each in self._connections if each.deadline <= now]:
            # The outcome of one may have started the next on another.
            if connection.deadline <= now:
                self._end_overdue(connection)
        for exchange in [each for each in self._unconnected if each.deadline <= now]:
            dial = exchange.dial
            self._fail(exchange, Failure.TIMEOUT if dial is None else self._dials[dial].overdue)
        return min(
            min((each.deadline for each in self._connections), default=inf),
            min((each.deadline for each in self._unconnected), default=inf),
        )

    def _end_overdue(self, connection: Connection) -> None:
        if connection.is_busy:
            connection.fail(Failure.TIMEOUT)
        elif connection.is_counted:
            self.stats.expired_total += 1
            self._retire(connection)
        else:
            connection.abort()

    async def _wait_until(self, is_met: Callable[[], bool], timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not is_met():
                    self._progress.clear()
                    await self._progress.wait()

    async def _break_all(self) -> None:
        for connection in self._connections:
            connection.abort()
        for dial in self._dials:
            dial.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)
        await self._wait_until(lambda: not self._connections, self._limits.tls_shutdown_s)
        self._alarm.stop()
