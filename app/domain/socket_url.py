"""Where browsers find the gateways' sockets: a URL that may stand in a page and in its policy."""

import re
from dataclasses import dataclass
from typing import Final

from app.domain.origin import why_no_origin
from app.domain.socket import SOCKET_PATH

_URL: Final = re.compile(r"(?P<origin>wss?://[^/?#]+)(?P<path>/[A-Za-z0-9._~/-]*)")
_HOST: Final = re.compile(r"(?P<name>[^:\[\]]+|\[[^\]]+\])(?::[0-9]+)?")
_PORT_MAX: Final = 65_535


def why_no_socket_url(text: str) -> str | None:
    """Why this is no address of sockets that a browser could open; None: it is one."""
    url = _URL.fullmatch(text)
    if url is None:
        example = f"wss://push.example.com{SOCKET_PATH}"
        return f"is no address of sockets: write {example}, without ? and #"
    if (reason := why_no_origin(url["origin"])) is not None:
        return reason
    port = url["origin"].rpartition("]")[2].split(":")[-1]
    if port.isdigit() and int(port) > _PORT_MAX:
        return f"has a port over {_PORT_MAX}"
    return None


def origin_of(url: str) -> str:
    """The origin of an address for which `why_no_socket_url` has no objection."""
    found = _URL.fullmatch(url)
    assert found is not None
    return found["origin"]


@dataclass(frozen=True, slots=True)
class Sockets:
    """What is known of the gateways: their URL, or else the port that they have on the host that
    pages are fetched from; 0 for none."""

    url: str | None = None
    port: int = 0

    def seen_from(self, host: str, *, is_secure: bool) -> str | None:
        """The URL for a page that was fetched with this `Host` header, over TLS or not. None when
        nothing is known, and for a header that names no host: it goes into a policy."""
        if self.url is not None or self.port == 0:
            return self.url
        named = _HOST.fullmatch(host.lower())
        if named is None:
            return None
        scheme = "wss" if is_secure else "ws"
        url = f"{scheme}://{named['name']}:{self.port}{SOCKET_PATH}"
        return url if why_no_socket_url(url) is None else None
