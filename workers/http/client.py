"""The HTTP/1.1 client that sends webhooks."""

import asyncio
import ssl

from app.domain.address import Url
from app.domain.attempt import Outcome
from app.errors import ClientClosed
from app.guard import Guard
from workers.http.dialer import Dialer
from workers.http.exchange import Done, Exchange
from workers.http.limits import Limits
from workers.http.pool import Pool
from workers.http.proxied import ProxyDialer
from workers.http.stats import Stats
from workers.http.tls import client_context

_DEFAULTS = Limits()


class Client:
    """Sends ready-made requests over connections that are kept.

    On a kept connection a request costs one write and no task, future or timer of its own. It
    never follows redirects. A 2xx stays a success when its body is too long to read, or when
    something follows that does not belong to it; the connection is closed then. Whether the
    bytes are a valid request is up to the caller. With a `proxy` all of them go through that.

    To be made inside a running event loop, and closed there.
    """

    __slots__ = ("_deadline_s", "_is_closed", "_pool")

    def __init__(
        self,
        guard: Guard,
        *,
        limits: Limits = _DEFAULTS,
        tls: ssl.SSLContext | None = None,
        proxy: ProxyDialer | None = None,
    ) -> None:
        self._pool = Pool(Dialer(guard, tls or client_context(), limits, proxy), limits)
        self._deadline_s = limits.deadline_s
        self._is_closed = False

    @property
    def stats(self) -> Stats:
        return self._pool.stats

    def send(
        self, url: Url, head: bytes, body: bytes, done: Done, *, deadline_s: float | None = None
    ) -> Exchange:
        """Send `head` (request line to empty line) and `body`, and call `done` with the outcome.

        `done` is called exactly once, never before this returns, unless the handle is cancelled
        first. It may send the next request, and should not raise.
        Raises `ClientClosed` after `close`; every other failure is an outcome.
        """
        if self._is_closed:
            raise ClientClosed("This client is shutting down: start no more requests.")
        limit_s = self._deadline_s if deadline_s is None else deadline_s
        exchange = Exchange(self._pool, url, head + body, done, limit_s)
        self._pool.submit(exchange)
        return exchange

    async def request(
        self, url: Url, head: bytes, body: bytes, *, deadline_s: float | None = None
    ) -> Outcome:
        """`send` for those who wait: the outcome. Cancelling the wait cancels the request."""
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def done(result: Outcome) -> None:
            if not outcome.done():
                outcome.set_result(result)

        exchange = self.send(url, head, body, done, deadline_s=deadline_s)
        try:
            return await outcome
        finally:
            exchange.cancel()

    async def close(self, grace_s: float = 5.0) -> None:
        """Take no more requests, wait `grace_s` for those in flight, end the others as `reset`.

        When it returns, every request has its outcome and no connection or task is left.
        """
        self._is_closed = True
        await self._pool.close(grace_s)
