"""The origin of a page, as browsers name it in the header `Origin` (RFC 6454, 6.2)."""

import re
from typing import Final
from urllib.parse import urlsplit

_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>[^/?#@:]+|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
)
_HOST: Final = re.compile(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]")
_USUAL_PORTS: Final = {"http": "80", "https": "443"}


def why_no_origin(text: str) -> str | None:
    """Why no browser would send this as an Origin, or why it should not be let in; None: it would.

    Origins are compared letter by letter, so that one written in another way would match nothing.
    """
    if text == "null":
        return "is what sandboxed frames and files of anybody send"
    if "*" in text:
        return "is a pattern: name each origin"
    origin = _ORIGIN.fullmatch(text)
    if origin is None:
        return "is no origin: write scheme://host or scheme://host:port, in small letters, no path"
    if not _HOST.fullmatch(origin["host"]):
        return "has a host that browsers write in small ASCII letters (punycode)"
    if origin["port"] == _USUAL_PORTS.get(origin["scheme"], ""):
        return "has the scheme's own port, which browsers leave out"
    return None


def is_of_host(origin: str, host: str | None) -> bool:
    """Whether a page of `host`, which is a Host header, has this origin. False for what is none."""
    try:
        named = urlsplit(origin).netloc
    except ValueError:
        return False
    return bool(named) and named == host
