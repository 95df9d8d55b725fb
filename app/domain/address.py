"""The addresses a webhook may be sent to: which URLs, which ports, which IP addresses."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
)
from typing import NoReturn
from urllib.parse import quote

import idna

from app.errors import UrlRejected

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# The standard library's `is_global` and `is_private` change with its patch releases and let
# through 64:ff9b::7f00:1, 2002:7f00:1::, fec0::1 and 224.0.0.1, so the table is spelled out.
# Sources: the IANA special-purpose registries for IPv4 and IPv6, RFC 3879, RFC 7526, RFC 9637.
_FORBIDDEN_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, the metadata services of clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_FORBIDDEN_V6 = tuple(
    IPv6Network(text)
    for text in (
        "::/8",  # unspecified, loopback, IPv4-compatible
        "64:ff9b:1::/48",  # local translation
        "100::/64",  # discard
        "2001::/23",  # protocol assignments, Teredo
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "fc00::/7",  # unique local
        "fe80::/10",  # link-local
        "fec0::/10",  # site-local
        "ff00::/8",  # multicast
    )
)
# In these the last 32 bits are the IPv4 address that is really reached.
_EMBEDDING = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))

URL_SIZE_MAX = 2048
HOST_SIZE_MAX = 253
_DEFAULT_PORTS = {"http": 80, "https": 443}
_FIRST_FREE_PORT = 1024

_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<target>[^#]*)(?P<fragment>#?).*",
    re.IGNORECASE,
)
_AUTHORITY = re.compile(r"(?:\[(?P<v6>[^\]]*)\]|(?P<name>[^:\[\]]*))(?::(?P<port>[0-9]{0,5}))?")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f\\]")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
# What RFC 3986 lets stand in a path or a query; the rest is percent-encoded, as browsers do.
_TARGET_SAFE = "/?:@!$&'()*+,;=-._~%[]"


def is_forbidden(ip: Address, allow: Iterable[Network] = ()) -> bool:
    """Whether no webhook may go to `ip`, given the networks that `allow` opens again.

    An IPv6 address that only wraps an IPv4 one (`::ffff:0:0/96`, `64:ff9b::/96`) is judged as
    that IPv4 address, also against `allow`: opening 127.0.0.0/8 opens ::ffff:127.0.0.1, opening
    ::/0 does not.
    """
    if isinstance(ip, IPv6Address) and any(ip in network for network in _EMBEDDING):
        ip = IPv4Address(int(ip) & 0xFFFFFFFF)
    if any(ip in network for network in allow):
        return False
    table = _FORBIDDEN_V4 if isinstance(ip, IPv4Address) else _FORBIDDEN_V6
    return any(ip in network for network in table)


def is_open_port(port: int, allow_ports: Collection[int] = ()) -> bool:
    """Whether webhooks may go to `port`: not where mail, shells and databases of old listen."""
    return port >= _FIRST_FREE_PORT or port in _DEFAULT_PORTS.values() or port in allow_ports


@dataclass(frozen=True, slots=True)
class Url:
    """An address of an endpoint, checked and taken apart.

    `host` is lower-case, IDNA-encoded and without brackets or trailing dot; if it is an IP
    address, in whatever spelling, then `literal` is that address and `host` its usual text.
    `target` is what goes into the request line, `host_header` into the Host header. URLs with the
    same `origin` can share connections.
    """

    scheme: str
    host: str
    port: int
    target: str
    origin: str
    host_header: str
    literal: Address | None

    @property
    def is_tls(self) -> bool:
        return self.scheme == "https"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host_header}{self.target}"


def parse_url(text: str, *, allow_ports: Collection[int] = ()) -> Url:
    """Take an endpoint's address apart, or raise `UrlRejected` with what to change.

    Only what the text itself shows is judged here. Whether the host may be reached is for the
    guard to say, which knows what it resolves to.
    """
    match = _URL.fullmatch(_checked_text(text))
    if match is None:
        raise UrlRejected("This is not a URL: write it as https://host/path.")
    scheme = match["scheme"].lower()
    if scheme not in _DEFAULT_PORTS:
        raise UrlRejected(f"The scheme {scheme!r} is not supported: use https or http.")
    if match["fragment"]:
        raise UrlRejected("A fragment is never sent to a server: remove '#' and what follows.")
    host, literal, port = parse_authority(match["authority"])
    port = _DEFAULT_PORTS[scheme] if port is None else port
    if not is_open_port(port, allow_ports):
        raise UrlRejected(f"Port {port} is not open to webhooks: use 80, 443 or 1024 to 65535.")
    bracketed = f"[{host}]" if isinstance(literal, IPv6Address) else host
    return Url(
        scheme=scheme,
        host=host,
        port=port,
        target=_encode_target(match["target"]),
        origin=f"{scheme}://{bracketed}:{port}",
        host_header=bracketed if port == _DEFAULT_PORTS[scheme] else f"{bracketed}:{port}",
        literal=literal,
    )


def _checked_text(text: str) -> str:
    if len(text) > URL_SIZE_MAX:
        _reject_length()
    if _UNPRINTABLE.search(text):
        raise UrlRejected(
            "Spaces, control characters and backslashes cannot stand in a URL: percent-encode them."
        )
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise UrlRejected("The URL is not valid Unicode: percent-encode its bytes.")
    return text


def parse_authority(authority: str) -> tuple[str, Address | None, int | None]:
    """Host, its address if it is one, and port, if there is one. Raises `UrlRejected`."""
    if "@" in authority:
        raise UrlRejected("A URL must not carry a user or password: send them in a header.")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise UrlRejected("Host and port are malformed: write host:port, [address]:port for IPv6.")
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 1 <= port <= 65535:
        raise UrlRejected("The port is out of range: they go from 1 to 65535.")
    if match["v6"] is not None:
        address = _parse_ipv6(match["v6"])
        return str(address), address, port
    host = _encode_host(match["name"])
    literal = _parse_ipv4(host)
    return (host if literal is None else str(literal)), literal, port


def _parse_ipv6(text: str) -> IPv6Address:
    # A zone (fe80::1%eth0) names an interface of this machine, which is not the client's to choose.
    if "%" in text:
        raise UrlRejected("An IPv6 address with a zone cannot be reached from elsewhere.")
    try:
        return IPv6Address(text)
    except AddressValueError:
        raise UrlRejected("Between the brackets must stand an IPv6 address.") from None


def _encode_host(name: str) -> str:
    """The host as it is resolved and compared: ASCII, lower-case, without the trailing dot."""
    if len(name) > HOST_SIZE_MAX + 1:
        raise UrlRejected(f"The host is too long: {HOST_SIZE_MAX} characters at most.")
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            raise UrlRejected("The host is not a valid international name.") from None
    host = name.lower().removesuffix(".")
    if not host:
        raise UrlRejected("The URL has no host: write it as https://host/path.")
    if len(host) > HOST_SIZE_MAX or not all(_LABEL.fullmatch(part) for part in host.split(".")):
        raise UrlRejected(
            "The host is malformed: names are letters, digits and hyphens between dots."
        )
    return host


def _parse_ipv4(host: str) -> IPv4Address | None:
    """The address that `inet_aton` would see in `host` (127.1, 0x7f000001, 017700000001), if any.

    A host whose last label is a number is an address or nothing, as in the URL standard of
    WHATWG: no such top-level domain exists, and resolvers differ in what they make of it.
    """
    labels = host.split(".")
    if not _NUMBER.fullmatch(labels[-1]):
        return None
    try:
        *heads, tail = (_parse_number(label) for label in labels)
    except ValueError:
        _reject_ipv4()
    if len(heads) > 3 or tail >= 256 ** (4 - len(heads)) or any(head > 255 for head in heads):
        _reject_ipv4()
    return IPv4Address(tail + sum(head << 24 - 8 * n for n, head in enumerate(heads)))


def _parse_number(label: str) -> int:
    if not _NUMBER.fullmatch(label):
        raise ValueError(label)
    if label.startswith("0x"):
        return int(label[2:], 16)
    return int(label, 8 if label.startswith("0") else 10)


def _encode_target(text: str) -> str:
    target = quote(text, safe=_TARGET_SAFE)
    if not target.startswith("/"):
        target = "/" + target
    if len(target) > URL_SIZE_MAX:
        _reject_length()
    return target


def _reject_length() -> NoReturn:
    raise UrlRejected(f"The URL is too long: {URL_SIZE_MAX} bytes at most, once encoded.")


def _reject_ipv4() -> NoReturn:
    raise UrlRejected("The host ends in a number but is no IPv4 address: write it as 192.0.2.1.")
