"""A connection before it is a socket: one HTTP request, within a time and a size."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, cast

from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from app.domain.client import Addresses
from app.gateway.door import Admission, Door
from app.gateway.wheel import NOWHERE, Wheel

HEAD_BYTES_MAX: Final = 16 * 1024
END_OF_LINE: Final = b"\r\n"
END_OF_HEAD: Final = END_OF_LINE * 2


class Handshake(asyncio.Protocol):
    """Answers the request, or hands the transport over to a socket and is gone with all it read."""

    __slots__ = (
        "_address",
        "_addresses",
        "_deadline",
        "_door",
        "_enter",
        "_head",
        "_headers_max",
        "_is_answered",
        "_late",
        "_left",
        "_peer",
        "_transport",
        "_wheel",
        "slot",
    )

    def __init__(
        self,
        door: Door,
        wheel: Wheel,
        deadline: float,
        addresses: Addresses,
        *,
        headers_max: int,
        enter: Callable[[asyncio.Transport, Admission, str | None, bytes], None],
        late: Callable[[], None],
        left: Callable[[], None],
    ) -> None:
        """`enter` gets the transport, what it is counted for in `addresses`, and what came behind
        the head. `late`: no request came in time. `left`: the connection is closed."""
        self._door = door
        self._wheel = wheel
        self._deadline = deadline
        self._addresses = addresses
        self._address: str | None = None
        self._peer: str | None = None
        self._headers_max = headers_max
        self._enter = enter
        self._late = late
        self._left = left
        self._head = bytearray()
        self._is_answered = False
        self._transport: asyncio.Transport | None = None
        self.slot = NOWHERE

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else None
        if not self._find_room():
            transport.close()  # at once: it must not take part in the limit for handshakes
            return
        self._wheel.at(self, self._deadline)

    def data_received(self, data: bytes) -> None:
        if self._is_answered:
            return
        self._head += data
        end = self._head.find(END_OF_HEAD)
        if 0 <= end <= HEAD_BYTES_MAX:
            if self._head.count(END_OF_LINE, 0, end) > self._headers_max:
                self._turn_away(431, f"The head has more than {self._headers_max} headers.")
                return
            end += len(END_OF_HEAD)
            self._respond(bytes(self._head[:end]), bytes(self._head[end:]))
        elif len(self._head) > HEAD_BYTES_MAX:
            self._turn_away(431, f"The head has more than {HEAD_BYTES_MAX} bytes.")

    def check(self, now: float) -> None:
        """Called by the wheel: whoever has not finished by now does not get to."""
        if self._transport is not None:
            self._transport.abort()
            if not self._is_answered:
                self._late()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wheel.cancel(self)
        if self._address is not None:
            self._addresses.leave(self._address)
        self._left()

    def _respond(self, head: bytes, rest: bytes) -> None:
        protocol = self._door.protocol()
        protocol.receive_data(head)
        events = protocol.events_received()
        if not events:
            self._turn_away(400, "This is not a request that can be read, or it has a body.")
            return
        assert isinstance(events[0], Request)
        result = self._door.answer(events[0], protocol)
        if isinstance(result, Response):
            self._refuse(result)
        elif self._find_room(events[0].headers.get_all("X-Forwarded-For")):
            self._hand_over(result, protocol, rest)

    def _hand_over(self, admission: Admission, protocol: ServerProtocol, rest: bytes) -> None:
        transport, self._transport = self._transport, None
        assert transport is not None
        protocol.send_response(admission.response)
        transport.write(b"".join(protocol.data_to_send()))
        self._wheel.cancel(self)
        self._enter(transport, admission, self._address, rest)

    def _find_room(self, forwarded: Sequence[str] | None = None) -> bool:
        """Counts this connection for its address, unless that is done. False when there is no
        room; then it has been answered."""
        if self._address is not None:
            return True
        address = self._addresses.counted(self._peer, forwarded)
        if address is None:
            return True
        if not self._addresses.enter(address):
            self._refuse(self._door.crowd_out(address))
            return False
        self._address = address
        return True

    def _turn_away(self, status: int, detail: str) -> None:
        self._refuse(self._door.turn_away(status, detail))

    def _refuse(self, response: Response) -> None:
        """Sends the answer and lets the other side close, for a while: closing with something
        unread would reset the connection, and the answer might be lost (RFC 9112, 9.6)."""
        assert self._transport is not None
        self._is_answered = True
        self._head.clear()
        self._transport.write(response.serialize())
        self._transport.write_eof()
