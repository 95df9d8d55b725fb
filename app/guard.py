"""The guard: which addresses a request to an endpoint may be sent to, decided when it is sent."""

from collections.abc import Collection
from ipaddress import ip_address

from app.domain.address import Address, Network, Url, is_forbidden, is_open_port
from app.errors import Blocked, Unresolved
from app.resolver import Resolve, Resolver


class Guard:
    """Judges a URL by every address its name has now.

    The name is resolved once and the judged addresses are what gets connected to, so a name that
    resolves differently the next moment gains nothing. One forbidden address among many refuses
    the whole name: it could be the one that is used. Whatever cannot be judged is refused.

    With `resolves` False names are somebody else's to resolve and to judge, those of the egress
    proxy: then a name is refused only if it means this very machine wherever it is resolved.
    """

    __slots__ = ("_allow", "_allow_ports", "_resolve", "_resolver", "_resolves")

    def __init__(
        self,
        *,
        allow: Collection[Network] = (),
        allow_ports: Collection[int] = (),
        resolve: Resolve | None = None,
        resolves: bool = True,
    ) -> None:
        self._allow = tuple(allow)
        self._allow_ports = frozenset(allow_ports)
        self._resolves = resolves
        self._resolver: Resolver | None = None
        if resolve is None:
            self._resolver = Resolver()
            resolve = self._resolver.resolve
        self._resolve = resolve

    async def vet(self, url: Url) -> list[Address]:
        """The addresses of `url` in the order to try them, all permitted: at least one, but for a
        name that is not resolved here.

        Raises `Blocked` or `Unresolved`. An IP address in the URL is judged as it stands.
        """
        if not is_open_port(url.port, self._allow_ports):
            raise Blocked(f"Port {url.port} is not open to webhooks.")
        if url.literal is not None:
            addresses = [url.literal]
        elif self._resolves:
            addresses = await self._lookup(url.host)
        elif _is_this_machine(url.host):
            raise _forbidden(url.host)
        else:
            return []
        if any(is_forbidden(address, self._allow) for address in addresses):
            raise _forbidden(url.host)
        return addresses

    def close(self) -> None:
        """End the guard's own resolver."""
        if self._resolver is not None:
            self._resolver.close()

    async def _lookup(self, host: str) -> list[Address]:
        try:
            answers = await self._resolve(host)
        except (OSError, UnicodeError) as error:
            raise Unresolved(f"{host} has no address: {error}") from error
        if not answers:
            raise Unresolved(f"{host} has no address.")
        try:
            return list(dict.fromkeys(ip_address(answer) for answer in answers))
        except ValueError:
            raise Blocked(f"{host} resolves to something that is no IP address.") from None


def _is_this_machine(host: str) -> bool:
    """RFC 6761, 6.3: localhost, and every name under it."""
    return host == "localhost" or host.endswith(".localhost")


def _forbidden(host: str) -> Blocked:
    return Blocked(
        f"{host} leads to an address that webhooks may not reach. Use a public one, "
        "or ask the operator to allow its network (MOMENTS_ALLOW_CIDRS)."
    )
