"""A way to a receiver through the egress proxy: CONNECT, and what the proxy says to that."""

import asyncio
import re
from typing import cast

from workers.http.head import has_field

HEAD_BYTES_MAX = 16 * 1024

_ANSWER = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])[ \r]")
_END = b"\r\n\r\n"
_AUTHENTICATION_REQUIRED = 407


class Tunnel(asyncio.Protocol):
    """Holds a connection to the proxy from CONNECT to the end of the proxy's answer; then it reads
    no more, and somebody else takes the `transport` over.

    `status` is that of the answer, 0 when what came is none. `wants_credentials`: it refuses for
    want of other ones. Smokescreen says 407 as well of a receiver it does not let through, but it
    asks for nothing then. `is_intruded`: something came before we have spoken to the receiver.
    """

    def __init__(self) -> None:
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._head = b""
        self._transport: asyncio.Transport | None = None
        self.status = 0
        self.wants_credentials = False
        self.is_intruded = False

    @property
    def is_open(self) -> bool:
        """Whether the proxy has made a way to the receiver, which is still there."""
        return 200 <= self.status < 300 and not self.transport.is_closing()

    @property
    def transport(self) -> asyncio.Transport:
        assert self._transport is not None
        return self._transport

    async def ask(self, request: bytes) -> None:
        """Sends CONNECT, and waits for the answer or the end of the connection."""
        self.transport.write(request)
        await self._ended

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._head += data
        head, end, rest = self._head.partition(_END)
        while end and head.startswith(b"HTTP/1.1 1"):  # an interim answer
            self._head = rest
            head, end, rest = rest.partition(_END)
        if end:
            self._read(head + end, rest)
        elif len(self._head) > HEAD_BYTES_MAX:
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _read(self, head: bytes, rest: bytes) -> None:
        match = _ANSWER.match(head)
        self.status = 0 if match is None else int(match[1])
        asks = has_field(head, b"proxy-authenticate")
        self.wants_credentials = self.status == _AUTHENTICATION_REQUIRED and asks
        self.is_intruded = bool(rest)
        self._end()

    def _end(self) -> None:
        self.transport.pause_reading()
        if not self._ended.done():
            self._ended.set_result(None)


class Silence(asyncio.Protocol):
    """Takes the place of whoever is to speak first through a tunnel, until they are there."""

    def __init__(self) -> None:
        self.is_broken = False

    def data_received(self, data: bytes) -> None:
        self.is_broken = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_broken = True
