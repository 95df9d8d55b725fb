"""What a gateway says on a socket, and how a client answers; as JSON or MessagePack."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, cast

from moments_client.answers import ExpiredPost, PushedPost
from moments_client.errors import UnexpectedAnswer

Ack = Literal["auto", "explicit"]
EncodingName = Literal["json", "msgpack"]


@dataclass(frozen=True, slots=True)
class Position:
    """Where a client stands in a log: all up to `offset` has been dealt with. Offsets mean
    something only together with the log's `epoch`; None where it is not known."""

    offset: int
    epoch: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a post, at its offset in the user's log; `type` is
    `<type>.created`, `.updated` or `.deleted`, or `endpoint.disabled` of the service itself."""

    offset: int
    type: str
    post: PushedPost | ExpiredPost
    epoch: str = ""  # of the hello

    @property
    def position(self) -> Position:
        """To go on behind this event."""
        return Position(self.offset, self.epoch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The first message: the newest offset of the log, and the user's cursor."""

    user: str
    epoch: str
    head: int
    cursor: int
    ping_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """The log began anew, from offset 1: what was seen of the one before means nothing now."""

    epoch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodbye:
    """The gateway closes; the client may come back after so long."""

    reason: str
    reconnect_ms: int


@dataclass(frozen=True, slots=True)
class Encoding:
    """How messages of one subprotocol travel."""

    subprotocol: str
    encode: Callable[[dict[str, Any]], str | bytes]
    _decode: Callable[[Any], Any]

    def decode(self, message: str | bytes) -> dict[str, Any]:
        """Raises `UnexpectedAnswer`."""
        try:
            value = self._decode(message)
        except (ValueError, TypeError):
            value = None
        if not isinstance(value, dict):
            raise UnexpectedAnswer(f"the socket brought what is no message of {self.subprotocol}")
        return cast("dict[str, Any]", value)


def encoding_of(name: EncodingName) -> Encoding:
    """Raises ValueError for another name, and ImportError that says what to install."""
    if name == "json":
        return Encoding("moments.v1.json", json.dumps, json.loads)
    if name != "msgpack":
        raise ValueError(f"encoding is json or msgpack, not {name!r}")
    try:
        msgpack = import_module("msgpack")
    except ImportError:
        raise ImportError(
            "encoding='msgpack' needs a package more: pip install 'moments-client[msgpack]'"
        ) from None
    return Encoding("moments.v1.msgpack", msgpack.packb, msgpack.unpackb)
