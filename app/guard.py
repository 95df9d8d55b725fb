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
    """

    __slots__ = ("_allow", "_allow_ports", "_resolve", "_resolver")

    def __init__(
        self,
        *,
        allow: Collection[Network] = (),
        allow_ports: Collection[int] = (),
        resolve: Resolve | None = None,
    ) -> None:
        self._allow = tuple(allow)
        self._allow_ports = frozenset(allow_ports)
        self._resolver: Resolver | None = None
        if resolve is None:
            self._resolver = Resolver()
            resolve = self._resolver.resolve
        self._resolve = resolve

    async def vet(self, url: Url) -> list[Address]:
        """The addresses of `url` in the order to try them, at least one and all permitted.

        Raises `Blocked` or `Unresolved`. An IP address in the URL is judged as it stands.
        """
        if not is_open_port(url.port, self._allow_ports):
            raise Blocked(f"Port {url.port} is not open to webhooks.")
        addresses = await self._lookup(url.host) if url.literal is None else [url.literal]
        if any(is_forbidden(address, self._allow) for address in addresses):
            raise Blocked(
                f"{url.host} leads to an address that webhooks may not reach. Use a public one, "
                "or ask the operator to allow its network (MOMENTS_ALLOW_CIDRS)."
            )
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
