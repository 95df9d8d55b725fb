"""What clients may say, and how it is read from their messages: an ack, a new token, or a ping."""

from dataclasses import dataclass
from typing import Any, Final, cast

from app.errors import DecodeError
from app.gateway.encoding import JSON, Encoding
from app.gateway.incoming import Message

QUOTED_CHARS_MAX: Final = 40


@dataclass(frozen=True, slots=True)
class Ack:
    """Everything up to `offset` has been dealt with."""

    offset: int


@dataclass(frozen=True, slots=True)
class Renew:
    """A new token of the same user."""

    token: str


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks for a `pong`: those of the websocket protocol cannot be seen or sent by a browser's
    page, which has no other way to find that its connection is dead."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Not a message of this protocol; `reason` says what is wrong with it."""

    reason: str


def read(message: Message, encoding: Encoding) -> Ack | Renew | Ping | Unknown:
    """What a whole message says on a socket of this encoding."""
    name = encoding.subprotocol
    if message.is_text is not (encoding is JSON):
        return Unknown(f"the other kind of frame on {name}")
    try:
        return parse(encoding.decode(message.payload))
    except DecodeError:
        return Unknown(f"this cannot be decoded as {name} says")


def parse(message: Any) -> Ack | Renew | Ping | Unknown:
    """`{"type": "ack", "offset": 12}`, `{"type": "token", "token": "…"}` or `{"type": "ping"}`, and
    nothing besides."""
    if not isinstance(message, dict):
        return Unknown("a message is an object")
    fields = cast("dict[Any, Any]", message)
    match fields.get("type"):
        case "ack":
            return _field_of(fields, "offset") or _ack(fields["offset"])
        case "token":
            return _field_of(fields, "token") or _renew(fields["token"])
        case "ping":
            return _extra(fields, "type") or Ping()
        case None:
            return Unknown("`type` is missing")
        case other:
            return Unknown(f"unknown type {_quote(other)}")


def _field_of(fields: dict[Any, Any], name: str) -> Unknown | None:
    """None when `name` is the one field besides the type."""
    if name not in fields:
        return Unknown(f"`{name}` is missing")
    return _extra(fields, "type", name)


def _extra(fields: dict[Any, Any], *known: str) -> Unknown | None:
    """None when there is no other field."""
    extra = next((key for key in fields if key not in known), None)
    return None if extra is None else Unknown(f"unknown field {_quote(extra)}")


def _ack(offset: Any) -> Ack | Unknown:
    # A bool is an int to Python, and true would pass for 1.
    if type(offset) is int and offset >= 0:
        return Ack(offset)
    return Unknown(f"`offset` is no whole number from 0 on: {_quote(offset)}")


def _renew(token: Any) -> Renew | Unknown:
    return Renew(token) if isinstance(token, str) else Unknown("`token` is not a string")


def _quote(value: Any) -> str:
    text = ascii(value) if isinstance(value, str | int | float) else "…"
    return text if len(text) <= QUOTED_CHARS_MAX else text[:QUOTED_CHARS_MAX] + "…"
