"""What a client sends, from bytes to whole messages. Made when the first bytes come, because most
sockets only listen."""

from codecs import IncrementalDecoder, getincrementaldecoder
from collections.abc import Iterator
from dataclasses import dataclass
from logging import getLogger
from typing import Final

from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import Protocol, Side, State

from app.gateway.flood import CONTROL_COST, Allowance

PORTION_BYTES: Final = 2_048  # parsed at once, so that a flood is noticed before all of it is
MESSAGE_COST: Final = 1
REASON_BYTES_MAX: Final = 123  # RFC 6455, 5.5: 125 bytes, less the code

_Utf8: Final = getincrementaldecoder("utf-8")

# The library has a line for every opening and closing; the gateway's own say more.
quiet: Final = getLogger(f"{__name__}.protocol")
quiet.setLevel("ERROR")


@dataclass(frozen=True, slots=True)
class Message:
    is_text: bool
    payload: bytes


class _Protocol(Protocol):
    """The library's, but for two things.

    It takes a close within a message of many frames for a mistake of the client, which it is not
    (RFC 6455, 5.4 and 5.5). And behind our own close frame nothing counts but the answer to it: a
    message of which the beginning was thrown away has no end to be looked at.
    """

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None
        elif self.state is not State.OPEN:
            return
        super().recv_frame(frame)


class Incoming:
    """The websocket protocol after its handshake, as far as it comes from the client."""

    __slots__ = ("_allowance", "_decoder", "_fragments", "_protocol", "heard_at", "is_flooding")

    def __init__(self, message_bytes_max: int, now: float) -> None:
        self._protocol = _Protocol(
            Side.SERVER, state=State.OPEN, max_size=message_bytes_max, logger=quiet
        )
        self._allowance = Allowance(now)
        self._fragments: bytearray | None = None
        self._decoder: IncrementalDecoder | None = None  # of a text whose end is still to come
        self.heard_at = float("-inf")  # the last whole frame: a part of one is no sign of life
        self.is_flooding = False

    def messages(self, data: bytes, now: float) -> Iterator[Message]:
        """The messages that are complete with `data`. Stops early when the client is flooding.

        Then, and after every other call, there may be something `to_send`.
        """
        for start in range(0, len(data), PORTION_BYTES):
            self._protocol.receive_data(data[start : start + PORTION_BYTES])
            for frame in self._protocol.events_received():
                assert isinstance(frame, Frame)
                self.heard_at = now
                is_control = frame.opcode >= Opcode.CLOSE
                if not self._allowance.spend(CONTROL_COST if is_control else MESSAGE_COST, now):
                    self.is_flooding = True
                    return
                if is_control:
                    continue
                try:
                    message = self._assemble(frame)
                except UnicodeDecodeError:
                    self._protocol.fail(CloseCode.INVALID_DATA, "a text that is not UTF-8")
                    return
                if message is not None:
                    yield message

    def pay_for_answer(self, now: float) -> bool:
        """A message that buys an answer costs as much as a control frame. False: it is one too
        many, and the client is flooding."""
        if not self._allowance.spend(CONTROL_COST - MESSAGE_COST, now):
            self.is_flooding = True
        return not self.is_flooding

    def allow(self, message_bytes_max: int) -> None:
        """Takes larger messages from the next one on."""
        self._protocol.max_message_size = message_bytes_max

    def close(self, code: int, reason: str) -> None:
        """Says goodbye, unless that has been done."""
        if self._protocol.state is State.OPEN:
            cut = reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore")
            self._protocol.send_close(code, cut)

    def to_send(self) -> list[bytes]:
        """Answers of the protocol itself: pongs, close frames; b"" is the end of what we send."""
        return self._protocol.data_to_send()

    @property
    def close_code(self) -> int | None:
        """Why this socket is being closed, by whoever came first. None while it is open."""
        protocol = self._protocol
        if protocol.state is State.OPEN:
            return None
        close = protocol.close_rcvd if protocol.close_rcvd_then_sent else protocol.close_sent
        return close.code if close else 1006

    @property
    def close_reason(self) -> str:
        """What the close frame we sent says."""
        close = self._protocol.close_sent
        return close.reason if close else ""

    def _assemble(self, frame: Frame) -> Message | None:
        """Joins the fragments of a message; the protocol has checked their order and size.

        What it leaves to us is that texts are UTF-8 (RFC 6455, 8.1). Raises UnicodeDecodeError with
        the first fragment that makes it impossible.
        """
        if frame.opcode is not Opcode.CONT:
            is_text = frame.opcode is Opcode.TEXT
            if frame.fin:
                payload = bytes(frame.data)
                if is_text:
                    payload.decode()
                return Message(is_text, payload)
            self._fragments = bytearray()
            self._decoder = _Utf8() if is_text else None
        assert self._fragments is not None
        # Bytes, not pieces: there may be any number of empty ones.
        self._fragments += frame.data
        if self._decoder is not None:
            self._decoder.decode(frame.data, final=frame.fin)
        if not frame.fin:
            return None
        message = Message(self._decoder is not None, bytes(self._fragments))
        self._fragments = self._decoder = None
        return message
