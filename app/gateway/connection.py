"""One open socket: bytes in and out of its transport. What they mean is the session's to decide."""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from logging import getLogger
from typing import Any, Final

from app.domain.post import Event
from app.errors import BadToken, DecodeError
from app.gateway.close_codes import CloseCode
from app.gateway.encoding import JSON, Encoding, EventFrames, header
from app.gateway.incoming import Incoming, Message
from app.gateway.limits import Limits
from app.gateway.messages import Ack, Renew, Unknown, parse
from app.gateway.session import CLOSED, Advance, Close, Gap, Hello, Repush, Reset, Said, Session
from app.gateway.stats import Stats
from app.gateway.wheel import NOWHERE, Wheel
from app.store.inbox import InboxPage
from app.tokens import LEEWAY_S, Claims

log = getLogger(__name__)

CLOSE_TIMEOUT_S: Final = 5.0  # from our close frame to the end of the connection
GONE: Final = 1006  # RFC 6455, 7.4.1: the connection ended without a close frame
_PING: Final = 0x9
PING: Final = header(_PING, 0)

Verify = Callable[[str], Claims]


@dataclass(frozen=True, slots=True)
class Context:
    """What all sockets of a gateway share. The callables are told what a socket wants or did."""

    limits: Limits
    epoch: str
    stats: Stats
    wheel: Wheel
    verify: Verify
    now: Callable[[], float]  # loop time in seconds
    ask: "Callable[[Connection], None]"  # for a page of the inbox
    left: "Callable[[Connection], None]"  # takes part in nothing any more
    lost: Callable[[], None]  # a connection has ended
    advance: Callable[[str, int], None]  # a user's cursor
    repushed: Callable[[str, int, int], None]  # user, offset, attempts


def deadline(claims: Claims, now: float) -> float:
    """When a socket opened with this token is closed, in loop time."""
    return now + claims.expires_at + LEEWAY_S - time.time()


class Connection(asyncio.Protocol):
    """Takes the transport over from the handshake.

    Frames are collected in `outgoing` and go out joined with the next `flush`. They go straight to
    the kernel, past the transport, as long as that holds nothing back: this costs a tenth less
    than the whole of `transport.write`, and says at once what the kernel took. With a high-water
    mark of 0 the transport tells exactly when it begins and when it ends to hold something.
    """

    __slots__ = (
        "_context",
        "_expires_at",
        "_fd",
        "_heard_at",
        "_incoming",
        "_pinged_at",
        "_transport",
        "_waits",
        "encoding",
        "outgoing",
        "session",
        "slot",
        "user",
    )

    def __init__(
        self,
        context: Context,
        transport: asyncio.Transport,
        session: Session,
        encoding: Encoding,
        claims: Claims,
    ) -> None:
        now = context.now()
        self._context = context
        self._transport = transport
        self._fd: int = transport.get_extra_info("socket").fileno()
        self._waits = False  # whether the transport holds something back
        self._incoming: Incoming | None = None
        self._heard_at = now
        self._pinged_at = 0.0  # 0: no ping is unanswered
        self._expires_at = deadline(claims, now)
        self.user = claims.user
        self.session = session
        self.encoding = encoding
        self.outgoing: list[bytes] = []
        self.slot = NOWHERE
        transport.set_write_buffer_limits(high=0)
        transport.set_protocol(self)

    # Out.

    def flush(self) -> None:
        """Writes all that was collected, in one go."""
        outgoing = self.outgoing
        if self.session.state is CLOSED:
            outgoing.clear()
        elif outgoing:
            data = outgoing[0] if len(outgoing) == 1 else b"".join(outgoing)
            outgoing.clear()
            self._send(data)
            self._context.stats.bytes_sent += len(data)
            if self.session.explicit:
                self.session.written(now := self._context.now())
                self._context.wheel.sooner(self, max(now, self.session.due))
            elif not self._waits:
                self._context.advance(self.user, self.session.next - 1)

    def _send(self, data: bytes) -> None:
        rest: bytes | memoryview = data
        if not self._waits:
            try:
                sent = os.write(self._fd, data)
            except BlockingIOError:
                sent = 0
            except OSError:  # the other side is gone; connection_lost follows
                self._transport.abort()
                return
            if sent == len(data):
                return
            rest = memoryview(data)[sent:]
        self._transport.write(rest)
        self._check_full()

    def _check_full(self) -> None:
        unsent = self._transport.get_write_buffer_size()
        if unsent <= self._context.limits.unsent_bytes_max or self.session.is_full:
            return
        self.session.full(self._context.now(), unsent)
        if self.session.is_full:
            self._context.stats.sockets_behind += 1
            self._context.stats.fallen_behind += 1
            self._context.wheel.sooner(self, self.session.due)

    def pause_writing(self) -> None:
        self._waits = True

    def resume_writing(self) -> None:
        self._waits = False
        if self.session.is_full:
            self._context.stats.sockets_behind -= 1
        if self.session.drained():
            self._context.ask(self)
        # What was collected and not flushed yet has been taken by the session, but is not sent.
        if not (self.session.explicit or self.outgoing or self.session.is_closed):
            self._context.advance(self.user, self.session.next - 1)

    # What the store brings.

    def begin_page(self, page: InboxPage) -> None:
        for said in self.session.page(page):
            self.say(self._words(said))

    def write_events(
        self, first: int, events: Iterable[Event], frames: Mapping[Event, EventFrames]
    ) -> None:
        """Events of a page from the offset `first` on, as many as the socket takes."""
        size = 0
        for offset, event in enumerate(events, first):
            if self.session.take(offset):
                frame = frames[event].frame(self.encoding, offset)
                self.outgoing.append(frame)
                self._context.stats.frames_sent += 1
                size += len(frame)
                if size > self._context.limits.unsent_bytes_max:
                    self.flush()
                    size = 0
        self.flush()

    def end_page(self, head: int) -> None:
        self.flush()
        if self.session.end(head):
            self._context.ask(self)

    def say(self, message: Mapping[str, Any]) -> None:
        self.outgoing.append(self.encoding.frame(message))

    def _words(self, said: Said) -> dict[str, Any]:
        context = self._context
        match said:
            case Hello(head, cursor):
                hello = {"type": "hello", "user": self.user, "epoch": context.epoch}
                return {**hello, "head": head, "cursor": cursor, "ping_s": context.limits.ping_s}
            case Gap(first, last):
                context.stats.gaps += 1
                return {"type": "gap", "from": first, "to": last}
            case Reset():
                context.stats.resets += 1
                return {"type": "reset", "epoch": context.epoch}

    def ask(self) -> None:
        """The session wants a page of the inbox."""
        self._context.ask(self)

    def go_on(self) -> None:
        """The node is in the user's route, now or again."""
        if self.session.joined():
            self._context.ask(self)

    def lag(self) -> None:
        """Something was pushed that could not be written from the push."""
        if self.session.lag():
            self._context.ask(self)

    def rewind(self) -> None:
        """Somebody wants what is not acknowledged to be pushed again."""
        self._act(self.session.rewind(self._context.now()))

    # In.

    def data_received(self, data: bytes) -> None:
        now = self._context.now()
        self._heard_at = now
        self._pinged_at = 0.0
        incoming = self._hear(now)
        for message in incoming.messages(data, now):
            self._take(message, now)
            if self.session.is_closed:
                break
        if incoming.is_flooding:
            self.close(CloseCode.FLOOD)
        self._answer(incoming)

    def _hear(self, now: float) -> Incoming:
        if self._incoming is None:
            self._incoming = Incoming(self._context.limits.message_bytes_max, now)
        return self._incoming

    def _answer(self, incoming: Incoming) -> None:
        """Passes on what the protocol has to send, and notes when it is being closed."""
        code = incoming.close_code
        for data in incoming.to_send():
            if data:
                self._send(data)
            else:
                self._transport.close()
        if code is not None and self._shut(code):
            self._context.wheel.at(self, self._context.now() + CLOSE_TIMEOUT_S)

    def _take(self, message: Message, now: float) -> None:
        if message.is_text is not (self.encoding is JSON):
            self.close(CloseCode.BAD_MESSAGE, f"the other kind of frame on {self._protocol_name}")
            return
        try:
            said = parse(self.encoding.decode(message.payload))
        except DecodeError:
            said = Unknown(f"this cannot be decoded as {self._protocol_name} says")
        match said:
            case Ack(offset):
                self._act(self.session.ack(offset, now))
            case Renew(token):
                self._renew(token, now)
            case Unknown(reason):
                self.close(CloseCode.BAD_MESSAGE, reason)

    @property
    def _protocol_name(self) -> str:
        return self.encoding.subprotocol

    def _renew(self, token: str, now: float) -> None:
        try:
            claims = self._context.verify(token)
        except BadToken as error:
            self.close(CloseCode.BAD_TOKEN, f"the new token does not hold: {error}")
            return
        if claims.user != self.user:
            self.close(CloseCode.BAD_TOKEN, "the new token is another user's")
            return
        self._expires_at = deadline(claims, now)
        self._context.wheel.sooner(self, self._expires_at)

    def _act(self, action: Advance | Repush | Close | None) -> None:
        context = self._context
        match action:
            case Advance(offset):
                context.stats.acks += 1
                context.advance(self.user, offset)
            case Repush(offset, attempts, read):
                context.stats.repushes += 1
                context.repushed(self.user, offset, attempts)
                if read:
                    context.ask(self)
            case Close(code, reason):
                self.close(code, reason)
            case None:
                pass

    # The clock.

    def watch(self, ping_in_s: float) -> None:
        """Starts to be looked at; the first ping comes after this much silence."""
        self._heard_at += ping_in_s - self._context.limits.ping_s
        self._context.wheel.at(self, self._due())

    def check(self, now: float) -> None:
        """Called by the wheel: pings, and closes what has run out of time."""
        if self.session.is_closed:
            self._transport.abort()
        elif now >= self._expires_at:
            self.close(CloseCode.TOKEN_EXPIRED)
        elif self._pinged_at and now >= self._pinged_at + self._context.limits.pong_timeout_s:
            self.close(CloseCode.NO_PONG)
        else:
            if not self._pinged_at and now >= self._heard_at + self._context.limits.ping_s:
                self._pinged_at = now
                self._send(PING)
            self._act(self.session.tick(now, self._transport.get_write_buffer_size()))
            if not self.session.is_closed:
                self._context.wheel.at(self, self._due())

    def _due(self) -> float:
        limits = self._context.limits
        pulse = (
            self._pinged_at + limits.pong_timeout_s
            if self._pinged_at
            else self._heard_at + limits.ping_s
        )
        return min(pulse, self._expires_at, self.session.due)

    # The end.

    def close(self, code: CloseCode, reason: str | None = None) -> None:
        """Says why, and leaves the other side some seconds to answer."""
        if self.session.is_closed:
            return
        self.flush()
        reason = reason or code.reason
        if code is not CloseCode.GOING_AWAY:
            log.info("closing", extra={"user": self.user, "code": int(code), "reason": reason})
        incoming = self._hear(self._context.now())
        incoming.close(code, reason)
        self._answer(incoming)

    def leave(self, reason: str, reconnect_ms: int) -> None:
        """The gateway goes away; the client is asked to come back after so long."""
        if not self.session.is_closed:
            self.say({"type": "goodbye", "reason": reason, "reconnect_ms": reconnect_ms})
            self.close(CloseCode.GOING_AWAY)

    def eof_received(self) -> None:
        """Returning None lets the transport close itself, as a server does (RFC 6455, 7.1.1)."""
        self._shut(GONE)

    def connection_lost(self, exc: Exception | None) -> None:
        self._shut(GONE)
        self._context.wheel.cancel(self)
        self._fd = -1
        self._context.lost()

    def _shut(self, code: int) -> bool:
        """Takes part in nothing any more. False when that was so before."""
        if self.session.is_closed:
            return False
        stats = self._context.stats
        if self.session.is_full:
            stats.sockets_behind -= 1
        self.session.close()
        self.outgoing.clear()
        stats.sockets_closed[code] += 1
        self._context.left(self)
        return True
