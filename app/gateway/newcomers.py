"""Sockets that are nobody's yet: the first message has to be the token, and until it has come they
get nothing and cost little."""

import asyncio
import random
from collections.abc import Callable, Iterator
from typing import Final

from app.domain.close_codes import BROKEN, GONE, CloseCode, counted
from app.gateway.connection import CLOSE_TIMEOUT_S
from app.gateway.context import Context, judge
from app.gateway.door import RETRY_AFTER_S, Full
from app.gateway.encoding import Encoding
from app.gateway.goodbye import RECONNECT_MS
from app.gateway.incoming import Incoming, Message
from app.gateway.messages import Ack, Ping, Renew, Unknown, read
from app.gateway.opening import Opening
from app.gateway.wheel import NOWHERE
from app.gateway.wording import goodbye
from app.tokens import TOKEN_CHARS_MAX, Claims

MESSAGE_BYTES_MAX: Final = 2 * TOKEN_CHARS_MAX  # a token, whatever it is wrapped in
_NO_FAULT: Final = {CloseCode.GOING_AWAY, CloseCode.NO_ROOM}
# What is told in the log, and as what. Now and then: nobody has to be known to bring it about.
_TOLD: Final = {
    **{code: "token_by_message" for code in (*BROKEN, *CloseCode) if code not in _NO_FAULT},
    int(CloseCode.TOKEN_LATE): "hello_timeout_s",
}

Enter = Callable[["Newcomer", Claims], None]


class Newcomer(asyncio.Protocol):
    """One of them. It takes the transport over from the handshake, and gives it on."""

    __slots__ = (
        "_anteroom",
        "_context",
        "_messages",
        "address",
        "encoding",
        "incoming",
        "is_leaving",
        "opening",
        "slot",
        "transport",
    )

    def __init__(
        self,
        context: Context,
        anteroom: "Anteroom",
        transport: asyncio.Transport,
        opening: Opening,
        encoding: Encoding,
        address: str | None,
    ) -> None:
        """`address`: what it is counted for, if anything."""
        now = context.now()
        bytes_max = min(MESSAGE_BYTES_MAX, context.limits.message_bytes_max)
        self._context = context
        self._anteroom = anteroom
        self._messages: Iterator[Message] = iter(())
        self.incoming = Incoming(bytes_max, now)
        self.transport = transport
        self.opening = opening
        self.encoding = encoding
        self.address = address
        self.is_leaving = False  # being closed: nothing it says has any effect
        self.slot = NOWHERE
        context.wheel.at(self, now + context.limits.hello_timeout_s)
        transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        self._messages = self.incoming.messages(data, self._context.now())
        for message in self._messages:
            if self.is_leaving:
                break
            if (claims := self._judge(message)) is not None:
                self._anteroom.let_in(self, claims)
                return
        if self.incoming.is_flooding:
            self.close(CloseCode.FLOOD)
        self._answer()

    def rest(self) -> Iterator[Message]:
        """What came behind the token with the same read."""
        return self._messages

    def check(self, now: float) -> None:
        """Called by the wheel."""
        if self.is_leaving:
            self.transport.abort()
        else:
            self.close(CloseCode.TOKEN_LATE)

    def turn_away(self, full: Full) -> None:
        self.leave(full.reason, full.retry_after_s * 1_000, CloseCode.NO_ROOM)

    def leave(self, reason: str, reconnect_ms: int, code: CloseCode = CloseCode.GOING_AWAY) -> None:
        """Asks the client to come back after so long."""
        if not self.is_leaving:
            self.transport.write(self.encoding.frame(goodbye(reason, reconnect_ms)))
            self.close(code)

    def close(self, code: CloseCode, reason: str | None = None) -> None:
        """Says why, and leaves the other side some seconds to answer."""
        self.incoming.close(code, reason or code.reason)
        self._answer()

    def eof_received(self) -> None:
        """Returning None lets the transport close itself."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave(GONE)
        self._context.wheel.cancel(self)
        self._anteroom.forget(self)
        self._context.lost(self)

    def _judge(self, message: Message) -> Claims | None:
        """Whose socket this is; None: it is being closed."""
        match read(message, self.encoding):
            case Renew(token):
                claims = judge(self._context.verify, token)
                if isinstance(claims, Claims):
                    return claims
                self.close(claims.code, claims.reason)
            case Ack() | Ping():
                self.close(CloseCode.BAD_MESSAGE, "the first message has to be the token")
            case Unknown(reason):
                self.close(CloseCode.BAD_MESSAGE, reason)
        return None

    def _answer(self) -> None:
        """Passes on what the protocol has to send, and notes when it is being closed."""
        code = self.incoming.close_code
        for data in self.incoming.to_send():
            if data:
                self.transport.write(data)
            else:
                self.transport.close()
        if code is not None and self._leave(code):
            self._context.wheel.at(self, self._context.now() + CLOSE_TIMEOUT_S)

    def _leave(self, code: int) -> bool:
        """False when it was leaving before."""
        if self.is_leaving:
            return False
        self.is_leaving = True
        self._context.stats.sockets_closed[counted(code)] += 1
        if code in _TOLD:
            reason = self.incoming.close_reason
            self._context.notices.tell(_TOLD[code], "no token", code=code, reason=reason)
        return True


class Anteroom:
    """Where they wait, each for so long, and so many at most: the one that has waited longest makes
    room. So whoever fills it has to come faster than others need to send their token."""

    def __init__(
        self, context: Context, *, no_room_for: Callable[[str], Full | None], enter: Enter
    ) -> None:
        """`enter` gets a newcomer with its claims, and takes over its transport and the rest of
        what it said."""
        self._context = context
        self._no_room_for = no_room_for
        self._enter = enter
        self._waiting: dict[Newcomer, None] = {}  # in the order they came

    def take(
        self,
        transport: asyncio.Transport,
        opening: Opening,
        encoding: Encoding,
        address: str | None,
        rest: bytes,
    ) -> None:
        """`rest` is what came behind the handshake."""
        if len(self._waiting) >= self._context.limits.tokens_awaited_max:
            self._make_room()
        newcomer = Newcomer(self._context, self, transport, opening, encoding, address)
        self._waiting[newcomer] = None
        self._count()
        if rest:
            newcomer.data_received(rest)

    def let_in(self, newcomer: Newcomer, claims: Claims) -> None:
        self.forget(newcomer)
        if (full := self._no_room_for(claims.user)) is not None:
            newcomer.turn_away(full)
            return
        self._context.wheel.cancel(newcomer)
        newcomer.incoming.allow(self._context.limits.message_bytes_max)
        self._enter(newcomer, claims)

    def forget(self, newcomer: Newcomer) -> None:
        self._waiting.pop(newcomer, None)
        self._count()

    def say_goodbye(self) -> None:
        for newcomer in list(self._waiting):
            newcomer.leave("shutdown", random.randint(*RECONNECT_MS))

    def _make_room(self) -> None:
        """At once: the one who goes is not waited for."""
        context, oldest = self._context, next(iter(self._waiting))
        if not oldest.is_leaving:
            context.stats.sockets_refused["tokens_awaited_max"] += 1
            context.notices.tell("tokens_awaited_max", "a socket was refused")
            retry_after_s = random.randint(*RETRY_AFTER_S)
            oldest.turn_away(Full("Too many sockets wait for their token.", retry_after_s))
        self.forget(oldest)
        if oldest.transport.get_write_buffer_size():
            oldest.transport.abort()
        else:
            oldest.transport.close()

    def _count(self) -> None:
        self._context.stats.tokens_awaited = len(self._waiting)
