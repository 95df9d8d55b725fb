"""The egress proxy: where it is, and what is said to it for a way to a receiver."""

import base64
import re
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from urllib.parse import unquote

from app.domain.address import Address, parse_authority
from app.errors import ProxyRejected, UrlRejected

SIZE_MAX = 1024

_PROXY = re.compile(r"(?P<scheme>https?)://(?:(?P<user>[^/?#]*)@)?(?P<place>[^@/?#]+)/?", re.I)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy that makes tunnels (CONNECT). As text it has no user and no password.

    `literal` is its address, if it is not given by name. `credentials` is the value of
    Proxy-Authorization, "" for none.
    """

    is_tls: bool
    host: str
    port: int
    literal: Address | None = None
    credentials: str = field(default="", repr=False)

    def __str__(self) -> str:
        scheme = "https" if self.is_tls else "http"
        return f"{scheme}://{in_url(self.literal or self.host)}:{self.port}"

    def connect_request(self, host: str, port: int) -> bytes:
        """The head that asks for a tunnel to `host`, a name or an address as it stands in a URL."""
        place = f"{host}:{port}"
        lines = [f"CONNECT {place} HTTP/1.1", f"host: {place}"]
        if self.credentials:
            lines.append(f"proxy-authorization: {self.credentials}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def in_url(host: Address | str) -> str:
    """A host as it stands before a port."""
    return f"[{host}]" if isinstance(host, IPv6Address) else str(host)


def parse_proxy(text: str) -> Proxy:
    """Raises `ProxyRejected`, whose message never quotes the text: it may hold a password."""
    match = _PROXY.fullmatch(text) if len(text) <= SIZE_MAX else None
    if match is None:
        raise ProxyRejected("must be http://[user:password@]host:port, or https://…")
    try:
        host, literal, port = parse_authority(match["place"])
    except UrlRejected as error:
        raise ProxyRejected(f"{error}") from None
    if port is None:
        raise ProxyRejected("must name a port: http://host:port")
    credentials = "" if match["user"] is None else _basic(match["user"])
    return Proxy(match["scheme"].lower() == "https", host, port, literal, credentials)


def _basic(userinfo: str) -> str:
    """As RFC 7617 has it; what stands between them is the first colon."""
    user, _, password = userinfo.partition(":")
    try:
        words = [unquote(word, errors="strict") for word in (user, password)]
    except UnicodeDecodeError:
        raise ProxyRejected("user and password must be UTF-8, percent-encoded") from None
    if ":" in words[0] or any(map(_CONTROL.search, words)):
        raise ProxyRejected("a user has no colon, and neither it nor a password control characters")
    return "Basic " + base64.b64encode(":".join(words).encode()).decode()
