"""Whom a connection is for: its peer, or whom proxies of one's own say they speak for."""

from collections import Counter
from collections.abc import Collection, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from app.domain.address import Address, Network

NOBODY = "unknown"  # a peer without an address, at the other end of a Unix socket
FORWARDED_CHARS_MAX = 2_048  # the end of the list, which the nearest proxies wrote, is looked at
_ONE_HOLDER_V6 = 64  # bits of an IPv6 address that one holder has at least (RFC 6177)


def client_of(
    peer: str | None, forwarded: Sequence[str] = (), proxies: Collection[Network] = ()
) -> str:
    """The address that a request is counted under: an IPv4 one, or the /64 of an IPv6 one.

    `forwarded` are the values of X-Forwarded-For, in the order of the request. They count only
    when `peer` is in `proxies`, and then from their end: the last address that is in none of
    these is that of the client. Where something stands that is no address, whoever wrote it is
    the client.
    """
    client = _address(peer or "")
    if client is None:
        return NOBODY
    if proxies and forwarded and is_proxy(client, proxies):
        for hop in reversed(",".join(forwarded)[-FORWARDED_CHARS_MAX:].split(",")):
            address = _address(hop.strip())
            if address is None:
                break
            client = address
            if not is_proxy(client, proxies):
                break
    return holder_of(client)


class Addresses:
    """The connections of each address: at most `each_max` of it, 0 for any number."""

    __slots__ = ("_each_max", "_open", "_proxies")

    def __init__(self, each_max: int, proxies: Collection[Network] = ()) -> None:
        self._each_max = each_max
        self._proxies = proxies
        self._open: Counter[str] = Counter()

    def counted(self, peer: str | None, forwarded: Sequence[str] | None = None) -> str | None:
        """The address a connection counts for. None where nothing is counted, and for a proxy
        that has not said yet whom it speaks for."""
        if not self._each_max or (forwarded is None and is_trusted(peer, self._proxies)):
            return None
        return client_of(peer, forwarded or (), self._proxies)

    def enter(self, address: str) -> bool:
        """Counts one more. False, and it is not counted, when there are as many as there may be."""
        if self._open[address] >= self._each_max:
            return False
        self._open[address] += 1
        return True

    def leave(self, address: str) -> None:
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]

    def __len__(self) -> int:
        return len(self._open)


def is_trusted(peer: str | None, proxies: Collection[Network]) -> bool:
    """Whether what `peer` says of its clients counts, and its connections are many clients'."""
    if not proxies:
        return False
    address = _address(peer or "")
    return address is not None and is_proxy(address, proxies)


def is_proxy(address: Address, proxies: Collection[Network]) -> bool:
    return any(address in network for network in proxies)


def holder_of(address: Address) -> str:
    """One who has an IPv6 network has 2^64 addresses and more, and is counted once."""
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((address.packed, _ONE_HOLDER_V6), strict=False))


def _address(text: str) -> Address | None:
    """With or without a port, which some proxies write; an IPv4 address may come as IPv6."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
