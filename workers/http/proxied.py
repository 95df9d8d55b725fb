"""Setting a connection up through the egress proxy: a tunnel to what the guard has judged."""

import asyncio
import ssl
from collections.abc import Sequence
from ipaddress import ip_address
from time import monotonic

from app.domain.address import Address, Url
from app.domain.attempt import Failure
from app.domain.proxy import Proxy, in_url
from app.errors import Unresolved
from app.resolver import Resolve
from workers.http.connection import Connection
from workers.http.limits import Limits
from workers.http.setup import NotConnected, connect
from workers.http.tunnel import Silence, Tunnel

_UNREACHABLE = NotConnected(Failure.PROXY, b"the egress proxy cannot be reached")
_UNAUTHORIZED = NotConnected(Failure.PROXY, b"the egress proxy asks for other credentials (407)")


class ProxyDialer:
    """Reaches receivers by tunnels of one proxy, and in no other way.

    The proxy itself is not judged by the guard: it is the operator's, and where it is is no
    client's to choose. What it says and does is told apart from the receiver's: `Failure.PROXY`
    when it cannot be reached or refuses our credentials, which no receiver can bring about, and
    `Failure.TUNNEL` when it makes no way to this receiver, whoever of them is to blame for that.
    """

    __slots__ = ("_limits", "_proxy", "_resolve", "_tls")

    def __init__(self, proxy: Proxy, resolve: Resolve, tls: ssl.SSLContext, limits: Limits) -> None:
        self._proxy = proxy
        self._resolve = resolve
        self._tls = tls
        self._limits = limits

    async def dial(
        self, url: Url, addresses: Sequence[Address], connection: Connection, deadline: float
    ) -> NotConnected | None:
        """Bring `connection` up by the first of the addresses that the proxy can reach.

        Without addresses the name is the proxy's to resolve. `connection.overdue` says all the
        while what it means that there is no more time.
        """
        hosts = [in_url(address) for address in addresses] or [url.host]
        made: Tunnel | NotConnected = _UNREACHABLE
        for remaining in range(len(hosts), 0, -1):
            share_s = (deadline - monotonic()) / remaining if remaining > 1 else None
            made = await self._open(hosts[-remaining], url.port, connection, deadline, share_s)
            if isinstance(made, Tunnel):
                connection.overdue = Failure.TIMEOUT
                return await self._hand_over(made, url, connection)
            if made.failure is not Failure.TUNNEL:
                break
        return made

    async def _open(
        self, host: str, port: int, connection: Connection, deadline: float, share_s: float | None
    ) -> Tunnel | NotConnected:
        """A tunnel to the host; an attempt that takes more than its share counts as failed."""
        connection.overdue = Failure.PROXY
        tunnel = Tunnel()
        try:
            async with asyncio.timeout(share_s):
                if not await self._reach_proxy(tunnel, deadline):
                    return _UNREACHABLE
                connection.overdue = Failure.TUNNEL
                await tunnel.ask(self._proxy.connect_request(host, port))
        except TimeoutError:
            tunnel.abort()
            return NotConnected(connection.overdue)
        except BaseException:
            tunnel.abort()
            raise
        if tunnel.is_open:
            return tunnel
        tunnel.abort()
        return _UNAUTHORIZED if tunnel.wants_credentials else _refusal(tunnel.status)

    async def _reach_proxy(self, tunnel: Tunnel, deadline: float) -> bool:
        proxy = self._proxy
        try:
            sock = await connect(await self._addresses(), proxy.port, deadline)
            if sock is None:
                return False
            await asyncio.get_running_loop().create_connection(
                lambda: tunnel,
                sock=sock,
                ssl=self._tls if proxy.is_tls else None,
                server_hostname=proxy.host if proxy.is_tls else None,
                ssl_shutdown_timeout=self._limits.tls_shutdown_s if proxy.is_tls else None,
            )
        except (OSError, Unresolved, ValueError):
            return False
        return True

    async def _addresses(self) -> list[Address]:
        proxy = self._proxy
        if proxy.literal is not None:
            return [proxy.literal]
        return [ip_address(answer) for answer in await self._resolve(proxy.host)]

    async def _hand_over(
        self, tunnel: Tunnel, url: Url, connection: Connection
    ) -> NotConnected | None:
        """Let `connection` speak through the tunnel; from here on the loop owns it."""
        transport = tunnel.transport
        if url.is_tls:
            try:
                secured = await self._secure(transport, url)
            except BaseException as error:
                transport.abort()
                if isinstance(error, OSError):
                    return NotConnected(Failure.TLS)
                raise
            if secured is None:
                return NotConnected(Failure.PROTOCOL)
            transport = secured
        elif tunnel.is_intruded:
            transport.abort()
            return NotConnected(Failure.PROTOCOL)
        transport.set_protocol(connection)
        if not url.is_tls:
            transport.resume_reading()
        connection.connection_made(transport)
        return None

    async def _secure(self, transport: asyncio.Transport, url: Url) -> asyncio.Transport | None:
        """TLS with the receiver, by its name. None when it has spoken before it was spoken to, or
        has gone. Raises OSError."""
        first = Silence()
        secured = await asyncio.get_running_loop().start_tls(
            transport,
            first,
            self._tls,
            server_hostname=url.host,
            ssl_shutdown_timeout=self._limits.tls_shutdown_s,
        )
        assert secured is not None
        if first.is_broken or secured.is_closing():
            secured.abort()
            return None
        return secured


def _refusal(status: int) -> NotConnected:
    told = f"the egress proxy answered {status}" if status else "the egress proxy gave no answer"
    return NotConnected(Failure.TUNNEL, told.encode())
