"""The headers an endpoint may ask to be sent with every webhook."""

import re
from collections.abc import Mapping

from app.errors import HeadersRejected

COUNT_MAX = 16
SIZE_MAX = 4096

NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
VALUE = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?")

# Hop-by-hop (RFC 9110, 7.6.1), framing and routing of the request, and what proxies tell each
# other: with these an endpoint could change what is sent, or where a proxy sends it.
_RESERVED = frozenset(
    {
        "accept-encoding",
        "alt-used",
        "connection",
        "date",
        "expect",
        "forwarded",
        "host",
        "http2-settings",
        "keep-alive",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "via",
    }
)
_RESERVED_PREFIXES = ("content-", "moments-", "proxy-", "webhook-", "x-forwarded-")


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with their names in lower case, or `HeadersRejected` with what to change.

    At most 16, and 4,096 bytes in all as they go over the wire (`name: value` and the line's end).
    """
    if len(headers) > COUNT_MAX:
        raise HeadersRejected(f"Too many headers: {COUNT_MAX} at most.")
    checked = {_check_name(name): _check_value(name, value) for name, value in headers.items()}
    if len(checked) < len(headers):
        raise HeadersRejected("Two headers differ only in case: names are case-insensitive.")
    if sum(len(name) + len(value) + 4 for name, value in checked.items()) > SIZE_MAX:
        raise HeadersRejected(f"The headers are too large: {SIZE_MAX} bytes at most in all.")
    return checked


def _check_name(name: str) -> str:
    lower = name.lower()
    if not NAME.fullmatch(name):
        raise HeadersRejected(f"{name[:64]!r} is not a header name: use letters, digits and '-'.")
    if lower in _RESERVED or lower.startswith(_RESERVED_PREFIXES):
        raise HeadersRejected(f"The header {lower[:64]!r} is set by the sender: choose another.")
    return lower


def _check_value(name: str, value: str) -> str:
    if not VALUE.fullmatch(value):
        raise HeadersRejected(
            f"The value of {name[:64]!r} must be printable ASCII without spaces at its ends."
        )
    return value
