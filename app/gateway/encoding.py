"""The two encodings a socket can choose by subprotocol, and their frames.

A frame from a server is not masked: a header of 2, 4 or 10 bytes, then the payload (RFC 6455,
5.2). It is the same for everybody but for the offset, so an event is encoded once, and only the
offset is set in for each socket.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.domain.post import Event, Post, accepted_at_ms
from app.domain.socket import JSON_SUBPROTOCOL, MSGPACK_SUBPROTOCOL
from app.wire import (
    decode_json,
    decode_msgpack,
    encode_json,
    encode_msgpack,
    event_type,
    json_event,
    msgpack_event,
    post_json,
)

FIN: Final = 0x80
TEXT: Final = 0x1
BINARY: Final = 0x2


def header(opcode: int, length: int) -> bytes:
    """The header of an unmasked, unfragmented frame."""
    first = FIN | opcode
    if length < 126:
        return bytes((first, length))
    if length < 1 << 16:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")


PING: Final = header(0x9, 0)


@dataclass(frozen=True, slots=True)
class Encoding:
    """How messages of one subprotocol travel. `decode` raises `DecodeError`."""

    subprotocol: str
    opcode: int
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]

    def frame(self, message: Mapping[str, Any]) -> bytes:
        payload = self.encode(message)
        return header(self.opcode, len(payload)) + payload


JSON: Final = Encoding(JSON_SUBPROTOCOL, TEXT, encode_json, decode_json)
MSGPACK: Final = Encoding(MSGPACK_SUBPROTOCOL, BINARY, encode_msgpack, decode_msgpack)
ENCODINGS: Final = {encoding.subprotocol: encoding for encoding in (JSON, MSGPACK)}


class TextFrames:
    """An event's JSON frames: one template for each number of digits an offset has."""

    __slots__ = ("_above", "_from", "_prefix", "_suffix", "_template", "_templates")

    def __init__(self, type_: str, post: bytes) -> None:
        self._prefix, self._suffix = json_event(type_, post)
        self._templates: dict[int, bytes] = {}
        self._template = b""
        self._from = self._above = 0

    def at(self, offset: int) -> bytes:
        """The whole frame for an offset. A format with the number costs a third of joining."""
        if not self._from <= offset < self._above:
            self._choose(len(str(offset)))
        return self._template % offset

    def _choose(self, digits: int) -> None:
        self._from, self._above = 10 ** (digits - 1), 10**digits
        template = self._templates.get(digits)
        if template is None:
            template = self._templates[digits] = self._make(digits)
        self._template = template

    def _make(self, digits: int) -> bytes:
        head = header(TEXT, len(self._prefix) + digits + len(self._suffix)) + self._prefix
        return head.replace(b"%", b"%%") + b"%d" + self._suffix.replace(b"%", b"%%")


class BinaryFrames:
    """An event's msgpack frames: the offset has four bytes, so that all have one length.

    No inbox gets to 2³² entries: at ten a second that takes thirteen years.
    """

    __slots__ = ("_head", "_suffix")

    def __init__(self, type_: str, post: bytes) -> None:
        prefix, self._suffix = msgpack_event(type_, post)
        length = len(prefix) + 4 + len(self._suffix)
        self._head = header(BINARY, length) + prefix

    def at(self, offset: int) -> bytes:
        return self._head + offset.to_bytes(4, "big") + self._suffix


class EventFrames:
    """The frames of one event in both encodings, each made when the first socket wants it.

    `accepted_ms`: when it was accepted, 0 when that is not known.
    """

    __slots__ = ("_binary", "_post", "_text", "_type", "accepted_ms")

    def __init__(self, event: Event, post: Post | None) -> None:
        self._type = event_type(post, event)
        self._post = post_json(post, event)
        self.accepted_ms = accepted_at_ms(post, event)
        self._text: TextFrames | None = None
        self._binary: BinaryFrames | None = None

    @property
    def text(self) -> TextFrames:
        if self._text is None:
            self._text = TextFrames(self._type, self._post)
        return self._text

    @property
    def binary(self) -> BinaryFrames:
        if self._binary is None:
            self._binary = BinaryFrames(self._type, self._post)
        return self._binary

    @property
    def size(self) -> int:
        """Bytes of a frame, about, whichever its encoding."""
        return len(self._post) + 100

    def frame(self, encoding: Encoding, offset: int) -> bytes:
        frames = self.text if encoding is JSON else self.binary
        return frames.at(offset)
