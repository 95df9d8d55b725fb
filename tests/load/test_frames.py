"""Websocket frames, against the library that the gateway is made with."""

import pytest
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from scripts.load.frames import BINARY, CLOSE, PING, PONG, TEXT, BadFrame, FrameReader, client_frame

LENGTHS = (0, 1, 125, 126, 127, 65_535, 65_536, 70_000)


def served(opcode: int, payload: bytes) -> bytes:
    return Frame(Opcode(opcode), payload).serialize(mask=False)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_frames_of_every_length_are_read(opcode: int, length: int):
    assert FrameReader().feed(served(opcode, b"x" * length)) == [(opcode, b"x" * length)]


def test_frames_may_come_many_at_once_and_byte_by_byte():
    payloads = [b"y" * length for length in LENGTHS[:6]]
    data = b"".join(served(TEXT, payload) for payload in payloads) + served(PING, b"?")
    assert FrameReader().feed(data) == [*((TEXT, payload) for payload in payloads), (PING, b"?")]
    reader = FrameReader()
    slowly = [frame for at in range(len(data)) for frame in reader.feed(data[at : at + 1])]
    assert slowly == [*((TEXT, payload) for payload in payloads), (PING, b"?")]


def test_a_fragment_is_refused():
    with pytest.raises(BadFrame):
        FrameReader().feed(Frame(Opcode.TEXT, b"x", fin=False).serialize(mask=False))


def test_a_masked_frame_is_refused():
    with pytest.raises(BadFrame):
        FrameReader().feed(Frame(Opcode.TEXT, b"x").serialize(mask=True))


@pytest.mark.parametrize("opcode", [PONG, CLOSE])
def test_what_a_client_sends_is_understood(opcode: int):
    payload = b"\x03\xe8" if opcode == CLOSE else b"pong"
    stream = StreamReader()
    stream.feed_data(client_frame(opcode, payload))
    with pytest.raises(StopIteration) as parsed:
        next(Frame.parse(stream.read_exact, mask=True))
    assert (parsed.value.value.opcode, bytes(parsed.value.value.data)) == (opcode, payload)


def test_a_client_frame_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="short"):
        client_frame(PONG, b"x" * 126)
