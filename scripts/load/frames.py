"""Websocket frames as a client needs them: a server's read, our own few made."""

import struct
from typing import Final

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

_FIN: Final = 0x80
_MASKED: Final = 0x80
_MASK: Final = bytes(4)  # all zero: masking changes nothing


class BadFrame(ValueError):
    """The server sent what no server of ours sends."""


class FrameReader:
    """Takes bytes as they come, gives whole frames: opcode and payload."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Raises BadFrame for fragments and masked frames."""
        if self._rest:
            data = self._rest + data
        frames: list[tuple[int, bytes]] = []
        at, size = 0, len(data)
        while size - at >= 2:
            first, length = data[at], data[at + 1]
            if not first & _FIN or length & _MASKED:
                raise BadFrame(f"a frame that begins with {data[at : at + 2].hex()}")
            begin = at + 2
            if length == 126:
                begin += 2
                length = int.from_bytes(data[at + 2 : begin], "big")
            elif length == 127:
                begin += 8
                length = int.from_bytes(data[at + 2 : begin], "big")
            if size < begin or size < begin + length:
                break
            at = begin + length
            frames.append((first & 0x0F, data[begin:at]))
        self._rest = data[at:]
        return frames


def client_frame(opcode: int, payload: bytes = b"") -> bytes:
    """Up to 125 bytes, as control frames are."""
    if len(payload) > 125:
        raise ValueError("only short frames")
    return struct.pack("!BB", _FIN | opcode, _MASKED | len(payload)) + _MASK + payload
