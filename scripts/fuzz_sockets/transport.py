"""A connection without a kernel's: what is sent is looked at by a client, frame by frame.

Sockets write past their transport, straight to the kernel. So there is one pair of sockets for each
connection, kept for the next; its buffer is small, and a client that does not read fills it.
"""

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any, Final

import msgpack
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side

BUFFER_BYTES: Final = 4_096
END_OF_HEAD: Final = b"\r\n\r\n"
STATUSES: Final = frozenset(
    {b"101", b"400", b"401", b"404", b"405", b"426", b"431", b"503", b"505"}
)
TYPES: Final = frozenset({"hello", "gap", "reset", "goodbye", "pong", "post.created"})


class Insane(AssertionError):
    """The gateway has said what it must never say."""


class Client:
    """Reads what the gateway sends, and holds it to the contract."""

    def __init__(self, given: set[str], failures: list[str]) -> None:
        """`given`: the users whose tokens were sent, which may still grow. What is read is read in
        the middle of the gateway's work, so that what is wrong with it is noted, and not raised."""
        self._given = given
        self._failures = failures
        self._head: bytearray | None = bytearray()
        self._protocol = Protocol(Side.CLIENT, max_size=None)
        self.user: str | None = None  # whose socket this is
        self.code: int | None = None  # of the close frame
        self.events = 0

    def read(self, data: bytes) -> None:
        try:
            self._read(data)
        except Exception as error:
            self._failures.append(f"sent: {type(error).__name__}: {error}")

    def _read(self, data: bytes) -> None:
        if self._head is None:
            self._read_frames(data)
            return
        self._head += data
        head, end, rest = self._head.partition(END_OF_HEAD)
        if not end:
            return
        status = bytes(head).split(b" ")[1]
        if status not in STATUSES:
            raise Insane(f"status {status!r}")
        if status == b"101":
            self._head = None
            self._read_frames(bytes(rest))

    def _read_frames(self, data: bytes) -> None:
        if not data:
            return
        if self.code is not None:
            raise Insane("something behind a close frame")
        self._protocol.receive_data(data)
        for frame in self._protocol.events_received():
            assert isinstance(frame, Frame)
            self._take(frame)
        if self._protocol.parser_exc is not None:
            raise Insane(f"no frame of a server: {self._protocol.parser_exc}")

    def _take(self, frame: Frame) -> None:
        if self.code is not None:
            raise Insane(f"{frame} behind a close frame")
        match frame.opcode:
            case Opcode.TEXT:
                self._hear(json.loads(bytes(frame.data)))
            case Opcode.BINARY:
                self._hear(msgpack.unpackb(bytes(frame.data)))
            case Opcode.CLOSE:
                self.code = Close.parse(frame.data).code
            case Opcode.PING | Opcode.PONG:
                pass
            case _:
                raise Insane(f"{frame}")

    def _hear(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind not in TYPES:
            raise Insane(f"a message of type {kind!r}")
        if kind == "hello":
            if self.user is not None:
                raise Insane("a second hello")
            self.user = message["user"]
            if self.user not in self._given:
                raise Insane(f"the socket of {self.user}, whose token was not sent")
        elif self.user is None and kind != "goodbye":
            raise Insane(f"{kind} before the hello")
        self.events += kind == "post.created"


class Pair:
    """The kernel's part: what is written at one end and read at the other."""

    def __init__(self) -> None:
        self.ours, self._theirs = socket.socketpair()
        for end in (self.ours, self._theirs):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)

    def read(self) -> bytes:
        """All there is."""
        parts: list[bytes] = []
        while True:
            try:
                parts.append(self._theirs.recv(1 << 20))
            except BlockingIOError:
                return b"".join(parts)

    def close(self) -> None:
        self.ours.close()
        self._theirs.close()


class Transport(asyncio.Transport):
    """What the gateway takes for a connection."""

    def __init__(self, pair: Pair, client: Client, gone: Callable[[], None]) -> None:
        super().__init__()
        self._pair = pair
        self._client = client
        self._gone = gone
        self._protocol: asyncio.BaseProtocol | None = None
        self._unsent = bytearray()
        self._is_closing = False
        self.is_lost = False
        self.reads = True  # the client does; set by whoever plays it

    # As the gateway sees it.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._pair.ours if name == "socket" else default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if self._unsent:
            self.get_protocol().pause_writing()

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def is_closing(self) -> bool:
        return self._is_closing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closing:
            return
        was_empty = not self._unsent
        self._unsent += data
        if self.reads:
            self._send()
        elif was_empty:
            self.get_protocol().pause_writing()

    def write_eof(self) -> None: ...

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            if not self._unsent:
                self._end_soon()

    def abort(self) -> None:
        if not self.is_lost:
            self._is_closing = True
            self._unsent.clear()
            self._end_soon()

    def _end_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        if self.is_lost:
            return
        self.is_lost = True
        self._client.read(self._pair.read())
        self.get_protocol().connection_lost(None)
        self._protocol = None
        self._gone()

    def _send(self) -> None:
        self._client.read(self._pair.read())
        data, self._unsent = bytes(self._unsent), bytearray()
        self._client.read(data)

    # As the client sees it.

    def receive(self, data: bytes) -> None:
        protocol = self.get_protocol()
        assert isinstance(protocol, asyncio.Protocol)
        protocol.data_received(data)

    def eof(self) -> None:
        protocol = self.get_protocol()
        assert isinstance(protocol, asyncio.Protocol)
        if not protocol.eof_received():
            self.close()

    def read_all(self) -> None:
        """The client takes what there is."""
        had_waited = bool(self._unsent)
        self._send()
        if self._is_closing:
            if not self.is_lost:
                self._end_soon()
        elif had_waited:
            self.get_protocol().resume_writing()
