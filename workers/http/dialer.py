"""Setting a connection up: guard, connect, TLS."""

import asyncio
import socket
import ssl

from app.domain.address import Url
from app.domain.attempt import Failure
from app.errors import Blocked, Unresolved
from app.guard import Guard
from workers.http.connection import Connection
from workers.http.limits import Limits
from workers.http.proxied import ProxyDialer
from workers.http.setup import NotConnected, connect


class Dialer:
    """Connects to one of the very addresses the guard has judged; the name is not asked again.

    With a proxy it is the proxy that connects to them, and nothing else is connected to here.
    """

    __slots__ = ("_guard", "_limits", "_proxy", "_tls")

    def __init__(
        self, guard: Guard, tls: ssl.SSLContext, limits: Limits, proxy: ProxyDialer | None = None
    ) -> None:
        self._guard = guard
        self._tls = tls
        self._limits = limits
        self._proxy = proxy

    async def dial(self, url: Url, connection: Connection, deadline: float) -> NotConnected | None:
        """Bring `connection` up, or say why that failed.

        `deadline` (`time.monotonic`) only divides the time among the addresses; ending the last
        attempt in time is the caller's, by cancelling.
        """
        try:
            addresses = await self._guard.vet(url)
        except Blocked:
            return NotConnected(Failure.BLOCKED)
        except Unresolved:
            return NotConnected(Failure.DNS)
        addresses = addresses[: self._limits.addresses_max]
        if self._proxy is not None:
            return await self._proxy.dial(url, addresses, connection, deadline)
        sock = await connect(addresses, url.port, deadline)
        if sock is None:
            return NotConnected(Failure.CONNECT)
        return await self._secure(sock, url, connection)

    async def _secure(
        self, sock: socket.socket, url: Url, connection: Connection
    ) -> NotConnected | None:
        """Hand the socket to the loop, which owns it from here on, whatever happens."""
        loop = asyncio.get_running_loop()
        try:
            if url.is_tls:
                await loop.create_connection(
                    lambda: connection,
                    sock=sock,
                    ssl=self._tls,
                    server_hostname=url.host,
                    ssl_shutdown_timeout=self._limits.tls_shutdown_s,
                )
            else:
                await loop.create_connection(lambda: connection, sock=sock)
        except OSError:
            return NotConnected(Failure.TLS if url.is_tls else Failure.CONNECT)
        return None
