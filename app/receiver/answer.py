"""The bytes of answers."""

from collections.abc import Iterable
from functools import cache
from http import HTTPStatus
from typing import Final

Headers = Iterable[tuple[str, str]]

_BODILESS: Final = frozenset({204, 304})
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
_FRAMING: Final = frozenset({"content-length", "transfer-encoding"})


@cache
def plain(status: int, keep_alive: bool) -> bytes:
    """An answer without a body."""
    return response(status, headers=() if keep_alive else (("connection", "close"),))


def response(
    status: int = 200, *, headers: Headers = (), body: bytes = b"", version: str = "1.1"
) -> bytes:
    """A whole answer with its Content-Length, unless `headers` say how long it is."""
    fields = list(headers)
    names = {name.lower() for name, _ in fields}
    if not names & _FRAMING and status not in _BODILESS:
        fields.append(("content-length", str(len(body))))
    first = f"HTTP/{version} {status} {_PHRASES.get(status, 'Unknown')}"
    lines = [first, *(f"{name}: {value}" for name, value in fields)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body
