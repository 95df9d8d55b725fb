"""One open socket: bytes in and out of its transport. What they mean is the session's to decide."""

import asyncio
import os
from collections.abc import Iterable, Mapping
from logging import getLogger
from typing import Any, Final

from app.domain.close_codes import BROKEN, GONE, CloseCode, counted
from app.domain.post import Event
from app.gateway.actions import READ, REFUSE, WRITE, Action, Advance, Close, Gap, Repush, Reset
from app.gateway.context import Context, deadline, judge
from app.gateway.encoding import PING, Encoding, EventFrames
from app.gateway.incoming import Incoming, Message
from app.gateway.messages import Ack, Ping, Renew, Unknown, read
from app.gateway.pulse import Pulse
from app.gateway.session import CLOSED, Session
from app.gateway.wheel import NOWHERE
from app.gateway.wording import PONG, goodbye, words
from app.store.inbox import InboxPage
from app.tokens import Claims

log = getLogger(__name__)
write = os.write  # once a delivery: looking it up costs a third of calling it

CLOSE_TIMEOUT_S: Final = 5.0  # from our close frame to the end of the connection


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
        "_incoming",
        "_pulse",
        "_transport",
        "_waits",
        "address",
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
        address: str | None = None,
        *,
        incoming: Incoming | None = None,
    ) -> None:
        """`address`: what it is counted for, if anything. `incoming`: what somebody else has begun
        to read."""
        now = context.now()
        self._context = context
        self._transport = transport
        self._fd: int = transport.get_extra_info("socket").fileno()
        self._waits = False  # whether the transport holds something back
        self._incoming = incoming
        self._pulse = Pulse(now)
        self._expires_at = deadline(claims, now)
        self.user = claims.user
        self.address = address
        self.session = session
        self.encoding = encoding
        self.outgoing: list[bytes] = []
        self.slot = NOWHERE
        # In this order: when the answer to the handshake still waits in the transport, this is told
        # so at once, and writes nothing past it.
        transport.set_protocol(self)
        transport.set_write_buffer_limits(high=0)

    # Out.

    def flush(self) -> None:
        """Writes all that was collected, in one go."""
        outgoing, session = self.outgoing, self.session
        if not outgoing or session.state is CLOSED:
            outgoing.clear()
            return
        data = outgoing[0] if len(outgoing) == 1 else b"".join(outgoing)
        outgoing.clear()
        self.write(data)

    def write(self, data: bytes) -> None:
        """Writes frames that the session has taken, behind what was collected. Nearly every
        delivery comes by here."""
        if self.outgoing:
            self.outgoing.append(data)
            self.flush()
            return
        if not self._send(data):
            return
        context, session = self._context, self.session
        context.stats.bytes_sent += len(data)
        if session.explicit:
            session.written(now := context.now())
            context.wheel.sooner(self, max(now, session.due))
        elif not self._waits:
            context.advance(self.user, session.next - 1)

    def _send(self, data: bytes) -> bool:
        """False when the other side is gone."""
        if self._waits:
            self._hold(data)
            return True
        try:
            sent = write(self._fd, data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._transport.abort()
            self._shut(GONE)
            return False
        if sent != len(data):
            self._hold(memoryview(data)[sent:])
        return True

    def _hold(self, data: bytes | memoryview) -> None:
        """Lets the transport send it when that can be done."""
        self._transport.write(data)
        self._check_full()

    def _check_full(self) -> None:
        unsent = self._transport.get_write_buffer_size()
        if unsent <= self._context.limits.unsent_bytes_max or self.session.is_full:
            return
        context = self._context
        self.session.full(context.now(), unsent)
        if self.session.is_full:
            context.stats.sockets_behind += 1
            context.stats.fallen_behind += 1
            context.notices.tell("unsent_bytes_max", "a socket is behind", user=self.user)
            context.wheel.sooner(self, self.session.due)

    def pause_writing(self) -> None:
        self._waits = True

    def resume_writing(self) -> None:
        self._waits = False
        session = self.session
        if session.is_closed or session.is_opening:
            return
        if session.is_full:
            self._take_more()
        self._repeat_owed()
        # What was collected and not flushed yet has been taken by the session, but is not sent.
        if not (session.explicit or self.outgoing):
            self._context.advance(self.user, session.next - 1)

    def _take_more(self) -> None:
        self._context.stats.sockets_behind -= 1
        if self.session.drained():
            self._context.ask(self)
        # It was not pinged meanwhile, and that it reads is a sign of life.
        self._pulse.heard(self._context.now())
        self._context.wheel.sooner(self, self._due())

    # What the store brings.

    def begin_page(self, page: InboxPage) -> None:
        context = self._context
        for said in self.session.page(page):
            context.stats.gaps += isinstance(said, Gap)
            context.stats.resets += isinstance(said, Reset)
            ping_s = context.limits.ping_s
            self.say(words(said, user=self.user, epoch=context.epoch, ping_s=ping_s))
        if early := self.session.early:
            self.session.early = 0
            self._act(self.session.ack(early, context.now()))

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
        self._repeat_owed()

    def write_again(self, offset: int, frames: EventFrames) -> None:
        """The event somebody asked for has come."""
        if self._may_repeat(offset):
            self.outgoing.append(frames.frame(self.encoding, offset))
            self._context.stats.frames_sent += 1
            self._context.stats.repeats += 1
            self.flush()

    def again(self, offset: int) -> None:
        """Somebody asks for this offset to be pushed once more."""
        if self._may_repeat(offset):
            self._context.repeat(self, offset)

    def _may_repeat(self, offset: int) -> bool:
        verdict = self.session.again(offset)
        if verdict is READ:
            self._context.ask(self)
        elif verdict is REFUSE:
            self._context.stats.repeats_dropped += 1
            self._context.notices.tell("repeats", "not pushed again", user=self.user)
        return verdict is WRITE

    def _repeat_owed(self) -> None:
        for offset in self.session.owed():
            self.again(offset)

    def say(self, message: Mapping[str, Any]) -> None:
        self.outgoing.append(self.encoding.frame(message))

    def ask(self) -> None:
        """The session wants a page of the inbox."""
        self._context.ask(self)

    def go_on(self) -> None:
        """The node is in the user's route, now or again."""
        if self.session.joined():
            self._context.ask(self)

    def begin_anew(self) -> None:
        """The store has lost its log."""
        if self.session.begin_anew():
            self._context.ask(self)

    def lag(self) -> None:
        """Something was pushed that could not be written from the push."""
        if self.session.lag():
            self._context.ask(self)

    # In.

    def data_received(self, data: bytes) -> None:
        now = self._context.now()
        incoming = self._hear(now)
        self._take_all(incoming.messages(data, now), now)
        if incoming.heard_at == now:
            self._pulse.heard(now)

    def go_on_with(self, messages: Iterable[Message]) -> None:
        """The rest of what came with the token, from the `incoming` that was given."""
        self._take_all(messages, self._context.now())

    def _take_all(self, messages: Iterable[Message], now: float) -> None:
        incoming = self._hear(now)
        for message in messages:
            self._take(message, now)
            if self.session.is_closed or incoming.is_flooding:
                break
        if incoming.is_flooding:
            self.close(CloseCode.FLOOD)
        self._answer(incoming)
        # Before the first page nothing is sent but answers to pings.
        unsent = self._transport.get_write_buffer_size()
        if unsent > self._context.limits.unsent_bytes_max and self.session.is_opening:
            self.close(CloseCode.TOO_SLOW, f"{unsent} bytes unread")

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
            if code in BROKEN:
                self._log_closing(code, incoming.close_reason)

    def _take(self, message: Message, now: float) -> None:
        match read(message, self.encoding):
            case Ack(offset):
                self._act(self.session.ack(offset, now))
            case Renew(token):
                self._renew(token, now)
            case Ping():
                self._pong(now)
            case Unknown(reason):
                self.close(CloseCode.BAD_MESSAGE, reason)

    def _pong(self, now: float) -> None:
        """Until the hello that is the answer: it comes first."""
        if self._hear(now).pay_for_answer(now) and not self.session.is_opening:
            self._send(self.encoding.frame(PONG))

    def _renew(self, token: str, now: float) -> None:
        claims = judge(self._context.verify, token)
        if isinstance(claims, Close):
            self.close(claims.code, claims.reason)
            return
        if claims.user != self.user:
            self.close(CloseCode.BAD_TOKEN, "the new token is another user's")
            return
        self._expires_at = deadline(claims, now)
        self._context.wheel.sooner(self, self._expires_at)

    def _act(self, action: Action | None) -> None:
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
        self._pulse.heard(self._context.now() + ping_in_s - self._context.limits.ping_s)
        self._context.wheel.at(self, self._due())

    def check(self, now: float) -> None:
        """Called by the wheel: pings, and closes what has run out of time."""
        if self.session.is_closed:
            self._transport.abort()
        elif now >= self._expires_at:
            self.close(CloseCode.TOKEN_EXPIRED)
        elif not self.session.is_full and now >= self._pulse.answer_due(self._context.limits):
            self.close(CloseCode.NO_PONG)
        else:
            if not self.session.is_full and now >= self._pulse.ping_due(self._context.limits):
                self._pulse.pinged(now)
                self._send(PING)
            self._act(self.session.tick(now, self._transport.get_write_buffer_size()))
            if not self.session.is_closed:
                self._context.wheel.at(self, self._due())

    def _due(self) -> float:
        due = min(self._expires_at, self.session.due)
        if self.session.is_full:  # a ping would wait behind all the rest, and so would its answer
            return due
        limits, pulse = self._context.limits, self._pulse
        return min(due, pulse.ping_due(limits), pulse.answer_due(limits))

    # The end.

    def close(self, code: CloseCode, reason: str | None = None) -> None:
        """Says why, and leaves the other side some seconds to answer."""
        if self.session.is_closed:
            return
        self.flush()
        reason = reason or code.reason
        if code is not CloseCode.GOING_AWAY:
            self._log_closing(code, reason)
        incoming = self._hear(self._context.now())
        incoming.close(code, reason)
        self._answer(incoming)

    def _log_closing(self, code: int, reason: str) -> None:
        log.info("closing", extra={"user": self.user, "code": int(code), "reason": reason})

    def leave(self, reason: str, reconnect_ms: int) -> None:
        """The gateway goes away; the client is asked to come back after so long."""
        if not self.session.is_closed:
            self.say(goodbye(reason, reconnect_ms))
            self.close(CloseCode.GOING_AWAY)

    def eof_received(self) -> None:
        """Returning None lets the transport close itself, as a server does (RFC 6455, 7.1.1)."""
        self._shut(GONE)

    def connection_lost(self, exc: Exception | None) -> None:
        self._shut(GONE)
        self._context.wheel.cancel(self)
        self._fd = -1
        self._context.lost(self)

    def _shut(self, code: int) -> bool:
        """Takes part in nothing any more. False when that was so before."""
        if self.session.is_closed:
            return False
        stats = self._context.stats
        if self.session.is_full:
            stats.sockets_behind -= 1
        self.session.close()
        self.outgoing.clear()
        stats.sockets_closed[counted(code)] += 1
        self._context.left(self)
        return True
