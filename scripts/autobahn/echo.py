"""A gateway that says again what it is told: its handshake, its frames and its closing as they are,
with an echo in the place of the session. For suites that test implementations of websockets.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from app.domain.client import Addresses
from app.gateway.connection import Connection
from app.gateway.context import Context
from app.gateway.door import Admission, Door, Operations
from app.gateway.encoding import BINARY, JSON, TEXT, header
from app.gateway.flood import Allowance
from app.gateway.handshake import Handshake
from app.gateway.incoming import Incoming, Message
from app.gateway.limits import Limits
from app.gateway.notices import Notices
from app.gateway.opening import parse_opening
from app.gateway.session import Session
from app.gateway.stats import Stats
from app.gateway.wheel import TICK_S, Wheel
from app.tokens import Claims

MIB: Final = 1024 * 1024
# The suite sends messages of 16 MiB, and wants them back.
LIMITS: Final = Limits(message_bytes_max=32 * MIB, unsent_bytes_max=64 * MIB)
ANYBODY: Final = Claims("anybody", 253_402_300_799)


class EchoDoor(Door):
    """Lets everybody in, on every path, and speaks no subprotocol but with who offers one."""

    def answer(self, request: Request, protocol: ServerProtocol) -> Response | Admission:
        response = protocol.accept(request)
        if response.status_code != 101:
            return response
        return Admission(response, parse_opening(""), ANYBODY, JSON)


class Boundless(Allowance):
    """The suite sends a message in 65,536 fragments, which is a flood by the gateway's measure."""

    __slots__ = ()

    def spend(self, cost: int, now: float) -> bool:
        return True


class EchoIncoming(Incoming):
    __slots__ = ()

    def __init__(self, message_bytes_max: int, now: float) -> None:
        super().__init__(message_bytes_max, now)
        self._allowance = Boundless(now)


class Echo(Connection):
    __slots__ = ()

    def _take(self, message: Message, now: float) -> None:
        incoming = self._hear(now)
        if incoming.close_code is None:  # pongs go before what came behind their pings
            self._answer(incoming)
        opcode = TEXT if message.is_text else BINARY
        self._send(header(opcode, len(message.payload)) + message.payload)


class EchoServer:
    def __init__(self) -> None:
        self.stats = Stats()
        notices, self._wheel = Notices(time.monotonic), Wheel(time.monotonic())
        self._context = Context(
            limits=LIMITS,
            epoch="echo",
            stats=self.stats,
            notices=notices,
            wheel=self._wheel,
            verify=lambda token: ANYBODY,
            now=time.monotonic,
            ask=lambda connection: None,
            repeat=lambda connection, offset: None,
            left=lambda connection: None,
            lost=lambda connection: None,
            advance=lambda user, offset: None,
            repushed=lambda user, offset, attempts: None,
        )
        self._door = EchoDoor(
            *(LIMITS, self.stats, notices, self._context.verify, Operations()),
            sockets_of=lambda user: 0,
        )

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[int]:
        """The port of 127.0.0.1 at which it serves."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._accept, "127.0.0.1", 0)
        ticking = asyncio.create_task(self._tick(), name="tick")
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            ticking.cancel()
            server.close()
            await asyncio.wait({ticking})

    def _accept(self) -> Handshake:
        return Handshake(
            self._door,
            self._wheel,
            time.monotonic() + LIMITS.hello_timeout_s,
            Addresses(0),
            headers_max=LIMITS.headers_max,
            enter=self._enter,
            late=lambda: None,
            left=lambda: None,
        )

    def _enter(
        self, transport: asyncio.Transport, admission: Admission, address: str | None, rest: bytes
    ) -> None:
        now = time.monotonic()
        session = Session(LIMITS, explicit=False, after=None, lost=False)
        incoming = EchoIncoming(LIMITS.message_bytes_max, now)
        echo = Echo(self._context, transport, session, JSON, ANYBODY, incoming=incoming)
        echo.watch(LIMITS.ping_s)
        if rest:
            echo.data_received(rest)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for timed in self._wheel.due(time.monotonic()):
                timed.check(time.monotonic())
