"""Frames as a client sees them and sends them, made and read by the websockets library."""

from collections.abc import Iterator

from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side


def read_frames(data: bytes) -> list[Frame]:
    """The frames of a server, all of them whole."""
    client = Protocol(Side.CLIENT, max_size=None)
    client.receive_data(data)
    frames = list(_frames(client))
    assert client.parser_exc is None
    return frames


def _frames(protocol: Protocol) -> Iterator[Frame]:
    for event in protocol.events_received():
        assert isinstance(event, Frame)
        yield event


def masked(opcode: Opcode, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """A frame of a client."""
    return Frame(opcode, payload, fin).serialize(mask=True)


def text(payload: str | bytes, *, fin: bool = True) -> bytes:
    raw = payload.encode() if isinstance(payload, str) else payload
    return masked(Opcode.TEXT, raw, fin=fin)


def binary(payload: bytes, *, fin: bool = True) -> bytes:
    return masked(Opcode.BINARY, payload, fin=fin)


def continuation(payload: bytes, *, fin: bool) -> bytes:
    return masked(Opcode.CONT, payload, fin=fin)
