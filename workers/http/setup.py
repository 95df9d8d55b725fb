"""What every way of setting a connection up shares: the socket, and why there is none."""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from time import monotonic

from app.domain.address import Address
from app.domain.attempt import Failure


@dataclass(frozen=True, slots=True)
class NotConnected:
    """Why a connection did not come up. `told` is shown where an answer's body would be."""

    failure: Failure
    told: bytes = b""


async def connect(addresses: Sequence[Address], port: int, deadline: float) -> socket.socket | None:
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
