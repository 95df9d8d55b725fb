"""Setting a connection up: guard, connect, TLS."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from ipaddress import IPv4Address
from time import monotonic

from app.domain.address import Address, Url
from app.domain.attempt import Failure
from app.errors import Blocked, Unresolved
from app.guard import Guard
from workers.http.connection import Connection
from workers.http.limits import Limits


class Dialer:
    """Connects to one of the very addresses the guard has judged; the name is not asked again."""

    __slots__ = ("_guard", "_limits", "_tls")

    def __init__(self, guard: Guard, tls: ssl.SSLContext, limits: Limits) -> None:
        self._guard = guard
        self._tls = tls
        self._limits = limits

    async def dial(self, url: Url, connection: Connection, deadline: float) -> Failure | None:
        """Bring `connection` up, or say why that failed.

        `deadline` (`time.monotonic`) only divides the time among the addresses; ending the last
        attempt in time is the caller's, by cancelling.
        """
        try:
            addresses = await self._guard.vet(url)
        except Blocked:
            return Failure.BLOCKED
        except Unresolved:
            return Failure.DNS
        addresses = addresses[: self._limits.addresses_max]
        sock = await _connect(addresses, url.port, deadline)
        if sock is None:
            return Failure.CONNECT
        return await self._secure(sock, url, connection)

    async def _secure(
        self, sock: socket.socket, url: Url, connection: Connection
    ) -> Failure | None:
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
            return Failure.TLS if url.is_tls else Failure.CONNECT
        return None


async def _connect(
    addresses: Sequence[Address], port: int, deadline: float
) -> socket.socket | None:
    """A socket connected to the first address that takes it, None when none does.

    An address that does not answer gets its share of the time that is left, so that the next one
    has a chance; the last one gets the rest.
    """
    for remaining in range(len(addresses), 0, -1):
        share_s = (deadline - monotonic()) / remaining if remaining > 1 else None
        try:
            async with asyncio.timeout(share_s):
                return await _connect_to(addresses[-remaining], port)
        except OSError:
            continue
    return None


async def _connect_to(address: Address, port: int) -> socket.socket:
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, (str(address), port))
    except BaseException:
        sock.close()
        raise
    return sock
