"""One connection to a receiver: requests in, answers out, one after the other."""

import asyncio
import math
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, cast

import httptools

from app.receiver.answer import plain
from app.receiver.behaviour import Behaviour
from app.receiver.received import Received

if TYPE_CHECKING:
    from app.receiver.server import Receiver

BODY_MAX = 1024 * 1024
HEAD_MAX = 64 * 1024
WAITING_MAX = 64  # requests read and not answered, from which on nothing more is read

_LINGER_OFF = struct.pack("ii", 1, 0)  # closing discards what is unsent and sends a reset


class _TooLarge(Exception):
    """The request does not fit; `status` says which part of it."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Connection(asyncio.Protocol):
    """Requests that come in one read are answered one after the other, and while one has to wait
    for its answer little more is read. A plain answer is one write; a behaviour is a task.
    """

    _transport: asyncio.Transport

    def __init__(self, receiver: "Receiver", number: int) -> None:
        self._receiver = receiver
        self._number = number
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[Received, Behaviour | None, bool]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._ignores = False  # what comes: it is nothing to answer any more, or not yet
        self.acting: asyncio.Task[None] | None = None
        self._clear()

    def _clear(self) -> None:
        self._target = b""
        self._headers: dict[str, str] = {}
        self._head_size = 0
        self._body: list[bytes] = []
        self._body_size = 0

    # Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        if not self._receiver.enter(self):
            self._transport.abort()
            return
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._receiver.leave(self)
        self._waiting.clear()
        self._ignores = True
        if self._timer is not None:
            self._timer.cancel()
        if self.acting is not None:
            self.acting.cancel()

    def data_received(self, data: bytes) -> None:
        if self._ignores:
            return
        try:
            self._parser.feed_data(data)
        except _TooLarge as error:
            self._refuse(error.status)
        except httptools.HttpParserError as error:
            cause = error.__context__  # what a callback raised
            self._refuse(cause.status if isinstance(cause, _TooLarge) else 400)
        if len(self._waiting) >= WAITING_MAX and not self._transport.is_closing():
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        self._writable.clear()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._writable.set()
        if self._timer is None:
            self._transport.resume_reading()

    def cut(self) -> None:
        self._transport.abort()

    def close(self) -> None:
        """Closes in the orderly way, whatever is under way."""
        self._transport.close()

    # Parser

    def on_url(self, url: bytes) -> None:
        self._grow_head(len(url))
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grow_head(len(name) + len(value))
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body_size += len(body)
        if self._body_size > BODY_MAX:
            raise _TooLarge(413)
        self._body.append(body)

    def on_message_complete(self) -> None:
        received, behaviour = self._receiver.receive(
            self._parser.get_method().decode("latin-1"),
            self._target.decode("latin-1"),
            self._headers,
            b"".join(self._body),
            self._number,
        )
        self._waiting.append((received, behaviour, self._parser.should_keep_alive()))
        self._clear()
        if not self._is_busy:
            self._answer_waiting()

    def _grow_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > HEAD_MAX:
            raise _TooLarge(431)

    # Answers

    @property
    def _is_busy(self) -> bool:
        return self._timer is not None or self.acting is not None

    def _answer_waiting(self) -> None:
        """Answers what waits, each after the delay; until then nothing more is read."""
        while self._waiting and not self._is_busy and not self._transport.is_closing():
            delay_s = self._receiver.plan.delay_s
            if delay_s == math.inf:  # reads on, to see when the other side gives up
                return
            if delay_s > 0:
                self._transport.pause_reading()
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(delay_s, self._answer_late)
                return
            self._answer_next()
        if not self._waiting:
            self._await_request()

    def _answer_late(self) -> None:
        self._timer = None
        self._answer_next()
        self._go_on()

    def _go_on(self) -> None:
        self._answer_waiting()
        if self._timer is None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _answer_next(self) -> None:
        received, behaviour, keep_alive = self._waiting.popleft()
        if behaviour is None:
            answer, closes = plain(received.status, keep_alive), not keep_alive
        elif behaviour.answer is not None:
            answer, closes = behaviour.answer, behaviour.closes or not keep_alive
        else:
            self._act(behaviour, _Turn(self, self._transport, received, not keep_alive))
            return
        self._transport.write(answer)
        if closes:
            self._ignores = True
            self._transport.close()

    def _refuse(self, status: int) -> None:
        if not self._transport.is_closing():
            self._transport.write(plain(status, False))
            self._transport.close()

    # Behaviours

    def _await_request(self) -> None:
        """The connection is idle: something may be meant to befall it before the next request."""
        if self._is_busy or self._transport.is_closing():
            return
        behaviour = self._receiver.before_request()
        if behaviour is not None:
            self._ignores = True
            self._act(behaviour, _Turn(self, self._transport, None, False))

    def _act(self, behaviour: Behaviour, turn: "_Turn") -> None:
        loop = asyncio.get_running_loop()
        self.acting = loop.create_task(self._run(behaviour, turn), name=f"act {behaviour.name}")
        self.acting.add_done_callback(self._report)

    async def _run(self, behaviour: Behaviour, turn: "_Turn") -> None:
        await behaviour.act(turn)
        self.acting = None
        if turn.is_last:
            self._ignores = True
            self._transport.close()
            return
        self._ignores = False
        self._go_on()

    def _report(self, acting: "asyncio.Task[None]") -> None:
        """A behaviour that fails is a mistake of whoever wrote it: it must be seen."""
        if acting.cancelled() or acting.exception() is None:
            return
        self._transport.abort()
        asyncio.get_running_loop().call_exception_handler(
            {"message": f"{acting.get_name()} failed", "exception": acting.exception()}
        )

    async def drain(self) -> None:
        """Until the other side takes more; and everybody else has had their turn meanwhile."""
        await asyncio.sleep(0)
        await self._writable.wait()

    def stop_listening(self, for_s: float) -> None:
        self._receiver.refuse(for_s)


class _Turn:
    """See `app.receiver.behaviour.Turn`."""

    __slots__ = ("_connection", "_received", "_transport", "is_last")

    def __init__(
        self,
        connection: Connection,
        transport: asyncio.Transport,
        received: Received | None,
        is_last: bool,
    ) -> None:
        self._connection = connection
        self._transport = transport
        self._received = received
        self.is_last = is_last

    @property
    def received(self) -> Received | None:
        return self._received

    async def write(self, data: bytes) -> None:
        self._transport.write(data)
        await self._connection.drain()

    def reset(self) -> None:
        self.is_last = True
        sock = cast(socket.socket, self._transport.get_extra_info("socket"))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)
        self._transport.abort()

    def stop_reading(self) -> None:
        self._transport.pause_reading()

    def refuse(self, for_s: float) -> None:
        self._connection.stop_listening(for_s)
