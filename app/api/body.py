"""The body of a request: its size, its type, and how long it may take."""

import asyncio
from collections.abc import Mapping

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from app.api.problems import BODY_TIMEOUT, BODY_TOO_LARGE, UNSUPPORTED_MEDIA, Problem

Headers = Mapping[bytes, bytes]

JSON_TYPES = frozenset({"application/json"})
# NDJSON never got a registered name; these are what its tools send.
LINES_TYPES = frozenset(
    {
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonlines",
        "application/json",
    }
)


def is_announced(headers: Headers) -> bool:
    """Whether the request says that a body comes with it."""
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


def check_encoding(headers: Headers) -> None:
    """A 415 `Problem` for a compressed body."""
    if b"content-encoding" in headers and headers[b"content-encoding"] != b"identity":
        raise Problem(
            UNSUPPORTED_MEDIA,
            "Compressed bodies are not taken.",
            headers={"Accept-Encoding": "identity"},
        )


def check_type(headers: Headers, accepted: frozenset[str]) -> None:
    """A 415 `Problem` for a body of another type. One without a type is taken for the right one."""
    raw = headers.get(b"content-type")
    if raw is None or raw == b"application/json":
        return
    type_, _, parameters = raw.decode("latin-1").lower().partition(";")
    charset = parameters.strip().removeprefix("charset=").strip('"')
    if type_.strip() not in accepted or charset not in ("", "utf-8", "utf8"):
        wanted = "application/json" if accepted is JSON_TYPES else "application/x-ndjson"
        raise Problem(UNSUPPORTED_MEDIA, f"The body must be {wanted} in UTF-8.")


async def read(headers: Headers, receive: Receive, *, bytes_max: int, timeout_s: float) -> bytes:
    """A whole body. Raises `Problem` when it is too large or too slow, and `ClientDisconnect`."""
    announced = headers.get(b"content-length", b"")
    if announced.isdigit() and int(announced[:20]) > bytes_max:
        raise _too_large(bytes_max)
    try:
        async with asyncio.timeout(timeout_s):
            return await _collect(receive, bytes_max)
    except TimeoutError:
        raise Problem(BODY_TIMEOUT, f"The body took longer than {timeout_s:g} s.") from None


async def _collect(receive: Receive, bytes_max: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        part = chunk(message)
        size += len(part)
        if size > bytes_max:
            raise _too_large(bytes_max)
        if part:
            parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def chunk(message: Message) -> bytes:
    """The part of a body that one message brings. Raises `ClientDisconnect`."""
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b"")


def _too_large(bytes_max: int) -> Problem:
    return Problem(BODY_TOO_LARGE, f"At most {bytes_max} bytes are taken.")
