"""One connection to one server: commands go out in order, their replies come back in that order.

Many callers share one connection. Whatever they send in one turn of the event loop leaves in one
write, and one read settles all the replies it brought. A round trip of redis-py 8.1 costs three
times the CPU (docs/decisions/002-store-client.md), which is why this is our own.
"""

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import hiredis

from app.errors import CommandRejected, ConnectionLost, StoreError, StoreUnavailable
from app.store.replies import error_of
from app.store.url import Address, Login

Word = bytes | str | int | float
Replies = list[Any]  # in the order of the commands; an error reply is a StoreError in its place

# The stub of hiredis says "tuple of exactly one".
pack = cast(Callable[[tuple[Word, ...]], bytes], hiredis.pack_command)

WAITING_MAX = 16_384  # batches without an answer; far above what the store can be behind
UNSENT_BYTES_MAX = 64 * 1024 * 1024

_INCOMPLETE = object()


class Connection(asyncio.Protocol):
    """A connected server. Made by `open_connection`."""

    def __init__(self, name: str, silence_max_s: float | None) -> None:
        self.name = name
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(replyError=error_of, notEnoughData=_INCOMPLETE)
        self._transport: asyncio.Transport | None = None
        self._lost: str | None = None
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._waiting: deque[tuple[asyncio.Future[Replies], int]] = deque()
        self._replies: Replies = []
        self._unsent: list[bytes] = []
        self._paused = False
        self._silence_max_s = silence_max_s
        self._watch: asyncio.TimerHandle | None = None
        self._heard = False

    @property
    def is_open(self) -> bool:
        return self._lost is None

    @property
    def is_idle(self) -> bool:
        """No command is waiting for its reply."""
        return not self._waiting

    def send(self, commands: bytes, count: int) -> "asyncio.Future[Replies]":
        """Sends `count` packed commands; the future brings their replies.

        Cancelling the future loses the replies and nothing else. The future raises
        ConnectionLost when the connection breaks first; this call raises StoreUnavailable when
        it is broken already or far too much is waiting.
        """
        waiting = self._waiting
        self._check_room()
        future: asyncio.Future[Replies] = self._loop.create_future()
        if self._unsent:
            self._unsent.append(commands)
        elif waiting:
            self._unsent.append(commands)
            self._loop.call_soon(self._flush)
        else:  # idle: nothing would be gained by waiting for others
            self._write(commands)
        waiting.append((future, count))
        if self._watch is None and self._silence_max_s is not None:
            self._heard = True
            self._watch = self._loop.call_later(self._silence_max_s, self._check_silence)
        return future

    def abort(self, reason: str) -> None:
        """Cuts the connection. What still waits fails with ConnectionLost in the next turn."""
        if self._lost is None:
            self._lost = reason
            if self._transport is not None:
                self._transport.abort()

    async def close(self) -> None:
        """Cuts the connection and waits until the socket is closed."""
        self.abort("it was closed")
        if self._transport is not None:
            await asyncio.shield(self._gone)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._lost is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._heard = True
        self._reader.feed(data)
        try:
            self._settle()
        except hiredis.ProtocolError as error:
            self.abort(f"it does not speak the protocol: {error}")

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._lost is None:
            self._lost = str(exc) if exc else self._last_words()
        if self._watch is not None:
            self._watch.cancel()
        waiting, self._waiting = self._waiting, deque()
        for future, _ in waiting:
            if not future.done():
                future.set_exception(ConnectionLost(f"connection to {self.name}: {self._lost}"))
        if not self._gone.done():
            self._gone.set_result(None)

    def _settle(self) -> None:
        gets, waiting, replies = self._reader.gets, self._waiting, self._replies
        while (reply := gets()) is not _INCOMPLETE:
            replies.append(reply)
            if not waiting:  # only a server that refuses the connection speaks unasked
                self.abort(f"it said, unasked: {reply}")
                return
            future, count = waiting[0]
            if len(replies) == count:
                waiting.popleft()
                if not future.done():
                    future.set_result(replies)
                replies = self._replies = []

    def _last_words(self) -> str:
        """A server that is full answers the first command with an error and hangs up."""
        if self._replies and isinstance(self._replies[0], StoreError):
            return f"the server said {self._replies[0]} and closed it"
        return "the server closed it"

    def _check_room(self) -> None:
        if self._lost is not None:
            raise StoreUnavailable(f"connection to {self.name}: {self._lost}")
        if len(self._waiting) >= WAITING_MAX:
            raise StoreUnavailable(f"{self.name} is behind: {WAITING_MAX} batches wait for it")
        if self._paused and self._transport is not None:
            size = self._transport.get_write_buffer_size()
            if size > UNSENT_BYTES_MAX:
                raise StoreUnavailable(f"{self.name} is behind: {size} bytes wait for it")

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        self._write(unsent[0] if len(unsent) == 1 else b"".join(unsent))

    def _write(self, commands: bytes) -> None:
        if self._lost is None and self._transport is not None:
            self._transport.write(commands)

    def _check_silence(self) -> None:
        """Cuts a connection that owes an answer and brought no byte in a whole interval."""
        self._watch = None
        if not self._waiting or self._silence_max_s is None:
            return
        if not self._heard:
            self.abort(f"no answer for {self._silence_max_s} s")
            return
        self._heard = False
        self._watch = self._loop.call_later(self._silence_max_s, self._check_silence)


async def open_connection(
    address: Address,
    login: Login,
    tls: ssl.SSLContext | None,
    *,
    connect_timeout_s: float,
    silence_max_s: float | None,
) -> Connection:
    """Connects and logs in.

    A connection that owes an answer and brings no byte for `silence_max_s` is cut (None: never).
    Raises StoreUnavailable, or CommandRejected when the server refuses the login.
    """
    connection = Connection(str(address), silence_max_s)
    try:
        async with asyncio.timeout(connect_timeout_s):
            await _connect(connection, address, tls)
            await _log_in(connection, login)
    except TimeoutError as error:
        connection.abort("it could not be made in time")
        raise StoreUnavailable(f"{address} did not answer in {connect_timeout_s} s") from error
    except OSError as error:
        raise StoreUnavailable(f"{address} cannot be reached: {error}") from error
    except BaseException:
        connection.abort("the login failed")
        raise
    return connection


async def _connect(connection: Connection, address: Address, tls: ssl.SSLContext | None) -> None:
    loop = asyncio.get_running_loop()
    if address.is_path:
        await loop.create_unix_connection(lambda: connection, address.host)
        return
    transport, _ = await loop.create_connection(
        lambda: connection, address.host, address.port, ssl=tls
    )
    _keep_alive(transport.get_extra_info("socket"))


def _keep_alive(sock: socket.socket) -> None:
    """Lets the kernel find out about a peer that vanished while the connection was idle."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        with contextlib.suppress(AttributeError):  # macOS has only some of them
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


async def _log_in(connection: Connection, login: Login) -> None:
    """RESP2 throughout: hiredis reads a page of stream entries 17 % faster than as RESP3."""
    commands: list[tuple[Word, ...]] = []
    if login.password:
        user = (login.user,) if login.user else ()
        commands.append(("AUTH", *user, login.password))
    if login.db:
        commands.append(("SELECT", login.db))
    commands.append(("CLIENT", "SETNAME", "moments"))
    packed = b"".join(pack(command) for command in commands)
    *required, named = await connection.send(packed, len(commands))
    for reply in required:
        if isinstance(reply, StoreError):
            raise reply
    # A server that forbids naming the connection is no reason not to work.
    if isinstance(named, StoreError) and not _is_forbidden(named):
        raise named


def _is_forbidden(reply: StoreError) -> bool:
    return isinstance(reply, CommandRejected) and reply.code == "NOPERM"
