"""A user's socket, kept open: events in their order, each once, whatever happens to connections."""

import asyncio
import inspect
import logging
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import StrEnum
from functools import partial
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from moments_client.acks import Acks
from moments_client.answers import Gap
from moments_client.backoff import full_jitter_s
from moments_client.credential import Credential, TokenSource, ask, read_credential
from moments_client.errors import (
    ServerFault,
    SubscriptionClosed,
    TooMany,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)
from moments_client.follower import Follower, HoleError
from moments_client.handshake import detail_of, retry_after_of, socket_url
from moments_client.messages import (
    Ack,
    EncodingName,
    Event,
    Goodbye,
    Hello,
    Position,
    Reset,
    encoding_of,
)

log = logging.getLogger(__name__)

FIRST_S, LONGEST_S = 0.5, 20.0  # of the waits between connections
OPEN_TIMEOUT_S = 10.0
HELLO_TIMEOUT_S = 15.0  # from an open socket to its first message
TOKEN_TIMEOUT_S = 10.0  # for whatever gives tokens
CLOSE_TIMEOUT_S = 5.0
MESSAGE_BYTES_MAX = 16 * 1024 * 1024
QUEUE_MAX = 64  # messages read ahead of the consumer; then the gateway has to wait

_TOKEN_EXPIRED = 4002
_FINAL_CODES = range(4500, 5000)
_LATER_STATUSES = frozenset({401, 408, 425, 429})  # of 4xx, those that may go away
_LATER = (Unreachable, Unavailable, TooMany, ServerFault)

OnGap = Callable[[Gap], Awaitable[None] | None]
OnReset = Callable[[Reset], Awaitable[None] | None]
OnState = Callable[["State"], None]


class State(StrEnum):
    """Where a subscription is."""

    CONNECTING = "connecting"
    OPEN = "open"
    WAITING = "waiting"  # for the next try to connect
    CLOSED = "closed"


class Subscription:
    """`async for event in subscription`, from one task at a time; it never ends by itself.

    What is read is what is asked for: there is no task that reads ahead. An event is done with when
    the next one is asked for. With `ack="explicit"` only then is it acknowledged, and one that was
    not comes again to whoever connects next; with `ack="auto"` it counts as delivered once it was
    sent.

    Raises `SubscriptionClosed` when the gateway says not to come back, and what the token's source
    raises, unless that may go away (`Unreachable`, `Unavailable`, `TooMany`, `ServerFault`,
    TimeoutError, which is also raised for one that gives nothing within 10 s).
    """

    def __init__(
        self,
        url: str,
        token: TokenSource,
        *,
        position: Position | None = None,
        ack: Ack = "auto",
        encoding: EncodingName = "json",
        on_gap: OnGap | None = None,
        on_reset: OnReset | None = None,
        on_state: OnState | None = None,
    ) -> None:
        """`url` is the gateway's, `ws://HOST:8001`. `token`: the user's, or what gives one, asked
        again before each ends. `position`: where to go on, else the user's cursor.

        `on_gap` hears of offsets that are gone, `on_reset` that the log began anew; both in order,
        between the events. Raises ValueError, or ImportError where msgpack is not installed.
        """
        if ack not in ("auto", "explicit"):
            raise ValueError(f"ack is auto or explicit, not {ack!r}")
        self._url = socket_url(url)
        self._token = token
        self._ack = ack
        self._encoding = encoding_of(encoding)
        self._on_gap, self._on_reset, self._on_state = on_gap, on_reset, on_state
        self._follower = Follower(position)
        self._out: Event | None = None  # with the consumer
        self._state = State.CONNECTING
        self._socket: ClientConnection | None = None
        self._acks: Acks | None = None
        self._credential: Credential | None = None
        self._is_proven = False  # the credential has opened a socket
        self._renew_at: float | None = None
        self._hello_by: float | None = None
        self._opened_at = 0.0
        self._failures = 0
        self._asked_s = 0.0
        self._closing = asyncio.Event()
        self._trying: asyncio.Timeout | None = None  # what `close` cuts short

    @property
    def state(self) -> State:
        """What it is doing."""
        return self._state

    @property
    def position(self) -> Position | None:
        """Behind the last event that is done with: keep it, to go on from there another time. None
        until the first connection."""
        received = self._follower.received
        if received is None:
            return None
        return Position(received - (self._out is not None), self._follower.epoch)

    async def close(self) -> None:
        """Ends the iteration, also one that waits in another task. Can be called twice."""
        if self._trying is not None and not self._closing.is_set():
            self._trying.reschedule(asyncio.get_running_loop().time())
        self._closing.set()
        await self._drop_socket(flush=True)
        self._set_state(State.CLOSED)

    async def __aenter__(self) -> "Subscription":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        self._finish()
        try:
            while not self._closing.is_set():
                if self._socket is None:
                    await self._connect()
                elif (event := await self._receive(self._socket)) is not None:
                    self._out = event
                    return event
        except (SubscriptionClosed, UnexpectedAnswer):
            await self.close()
            raise
        raise StopAsyncIteration

    def _finish(self) -> None:
        """The consumer is done with what it was given."""
        event, self._out = self._out, None
        if event is not None and self._ack == "explicit" and self._acks is not None:
            self._acks.done(event.offset)

    # Messages.

    async def _receive(self, socket: ClientConnection) -> Event | None:
        """The event of the next message, if it brings one."""
        try:
            async with asyncio.timeout_at(self._hello_by or self._renew_at):
                raw = await socket.recv()
        except TimeoutError:
            await (self._renew(socket) if self._hello_by is None else self._leave("no hello"))
            return None
        except ConnectionClosed:
            await self._drop_socket()
            self._judge_close(socket.close_code, socket.close_reason or "")
            return None
        try:
            told = self._follower.take(self._encoding.decode(raw))
        except HoleError as hole:
            await self._leave(f"a hole in the log: {hole}")
            return None
        if not told:  # what comes again was not acknowledged, as far as the gateway knows
            self._ack_again()
        for one in told:
            if isinstance(one, Event):
                return one
            await self._hear(one)
        return None

    async def _hear(self, told: Hello | Reset | Gap | Goodbye) -> None:
        match told:
            case Hello():
                self._is_proven, self._hello_by = True, None
                self._set_state(State.OPEN)
                self._ack_again(told.cursor)
            case Gap():
                await self._tell(self._on_gap, told, "events are gone")
            case Reset():
                if self._acks is not None:
                    await self._acks.stop()  # what they are of is gone
                await self._tell(self._on_reset, told, "the log began anew")
            case Goodbye():
                self._asked_s = told.reconnect_ms / 1000

    async def _tell(
        self, hear: Callable[[Any], Awaitable[None] | None] | None, told: Any, words: str
    ) -> None:
        if hear is None:
            log.warning(words, extra={"told": str(told)})
            return
        answer = hear(told)
        if inspect.isawaitable(answer):
            await answer

    def _ack_again(self, cursor: int = 0) -> None:
        """An acknowledgement may have been lost with its connection."""
        done = self.position
        if self._acks is not None and done is not None and done.offset > cursor:
            self._acks.done(done.offset)

    # Connections.

    async def _connect(self) -> None:
        """One try, after the wait that is due; without success it has been counted."""
        if self._failures and not await self._wait():
            return
        self._set_state(State.CONNECTING)
        try:
            async with self._until_closed():
                credential = await self._credential_now()
                socket = await self._open(credential.token)
        except InvalidStatus as error:
            self._judge_status(error)
        except _LATER as error:
            self._asked_s = getattr(error, "retry_after_s", None) or 0.0
            self._failed(error)
        except (OSError, TimeoutError, InvalidHandshake) as error:
            self._failed(error)
        else:
            self._socket, self._opened_at = socket, time.monotonic()
            self._hello_by = asyncio.get_running_loop().time() + HELLO_TIMEOUT_S
            if self._ack == "explicit":
                self._acks = Acks(partial(self._send_ack, socket))
            if self._closing.is_set():
                await self._drop_socket()

    @asynccontextmanager
    async def _until_closed(self) -> AsyncGenerator[None]:
        """What waits in the block ends with TimeoutError when this is closed."""
        try:
            async with asyncio.timeout(None) as self._trying:
                yield
        finally:
            self._trying = None

    async def _open(self, token: str) -> ClientConnection:
        query = urlencode({"ack": self._ack, **self._follower.parameters()})
        return await connect(
            f"{self._url}?{query}",
            additional_headers={"Authorization": f"Bearer {token}"},
            subprotocols=[Subprotocol(self._encoding.subprotocol)],
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            max_size=MESSAGE_BYTES_MAX,
            max_queue=QUEUE_MAX,
            compression=None,
        )

    async def _wait(self) -> bool:
        """Waits before the next try, with full jitter, and as long as was asked for. False when
        this was closed meanwhile."""
        delay_s = full_jitter_s(
            self._failures, random.random(), first_s=FIRST_S, longest_s=LONGEST_S
        )
        delay_s, self._asked_s = max(delay_s, self._asked_s), 0.0
        self._set_state(State.WAITING)
        try:
            async with asyncio.timeout(delay_s):
                await self._closing.wait()
        except TimeoutError:
            return True
        return False

    def _failed(self, error: Exception | None = None) -> None:
        """A connection that held is no failure; one that was cut at once is."""
        held = time.monotonic() - self._opened_at > LONGEST_S
        self._failures = 1 if held and error is None else self._failures + 1
        reason = str(error) or type(error).__name__ if error else "the connection ended"
        log.info("connecting again", extra={"reason": reason, "failures": self._failures})

    async def _drop_socket(self, *, flush: bool = False) -> None:
        socket, self._socket = self._socket, None
        acks, self._acks = self._acks, None
        if acks is not None:
            await (acks.flush() if flush else acks.stop())
        if socket is not None:
            await socket.close()

    async def _leave(self, reason: str) -> None:
        """Leaves a socket that is of no use, to connect again."""
        log.warning("connecting again", extra={"reason": reason})
        await self._drop_socket()
        self._failed()

    def _judge_close(self, code: int | None, reason: str) -> None:
        """Raises `SubscriptionClosed` where coming back is of no use."""
        if self._closing.is_set():
            return
        if code in _FINAL_CODES:
            raise SubscriptionClosed(code or 0, reason)
        if code == _TOKEN_EXPIRED:
            self._drop_credential(code, reason)
        self._failed()

    def _judge_status(self, error: InvalidStatus) -> None:
        response = error.response
        status, said = response.status_code, detail_of(response)
        if 400 <= status < 500 and status not in _LATER_STATUSES:
            raise SubscriptionClosed(status, said)
        if status == 401:
            self._drop_credential(status, said)
        self._asked_s = retry_after_of(response)
        self._failed(error)

    # Tokens.

    async def _credential_now(self) -> Credential:
        """The one there is, unless it is to be renewed. Raises what the source raises, and
        TimeoutError when it does not answer."""
        loop = asyncio.get_running_loop()
        due = self._renew_at is not None and loop.time() >= self._renew_at
        if self._credential is None or due:
            self._credential = read_credential(await ask(self._token, TOKEN_TIMEOUT_S), time.time())
            self._is_proven = False
            renew_in_s = self._credential.renew_in_s if callable(self._token) else None
            self._renew_at = None if renew_in_s is None else loop.time() + renew_in_s
        return self._credential

    async def _renew(self, socket: ClientConnection) -> None:
        """Sends a new token on the open socket, before the old one ends."""
        try:
            async with self._until_closed():
                credential = await self._credential_now()
        except (*_LATER, TimeoutError) as error:
            asked_s = getattr(error, "retry_after_s", None) or FIRST_S
            self._renew_at = asyncio.get_running_loop().time() + max(asked_s, FIRST_S)
            log.warning("no new token yet", extra={"reason": str(error)})
            return
        self._is_proven = True  # that it is not is told by a close code of its own
        await self._send(socket, {"type": "token", "token": credential.token})

    def _drop_credential(self, code: int, reason: str) -> None:
        """Makes room for a new token; one that was new, or is all there is, is not tried again."""
        if not callable(self._token) or not self._is_proven:
            raise SubscriptionClosed(code, reason)
        self._credential = None

    # Out.

    async def _send_ack(self, socket: ClientConnection, offset: int) -> None:
        await self._send(socket, {"type": "ack", "offset": offset})

    async def _send(self, socket: ClientConnection, message: dict[str, Any]) -> None:
        """What cannot be sent is not lost: the reader sees that the socket is closed."""
        try:
            await socket.send(self._encoding.encode(message))
        except ConnectionClosed:
            log.debug("closed before it was sent", extra={"type": message["type"]})

    def _set_state(self, state: State) -> None:
        if state is self._state or self._state is State.CLOSED:
            return
        self._state = state
        if self._on_state is not None:
            self._on_state(state)


def subscribe(
    url: str,
    token: TokenSource,
    *,
    position: Position | None = None,
    ack: Ack = "auto",
    encoding: EncodingName = "json",
    on_gap: OnGap | None = None,
    on_reset: OnReset | None = None,
    on_state: OnState | None = None,
) -> Subscription:
    """A user's events, with no more than their token: see `Subscription`."""
    return Subscription(
        url,
        token,
        position=position,
        ack=ack,
        encoding=encoding,
        on_gap=on_gap,
        on_reset=on_reset,
        on_state=on_state,
    )
