"""One socket's place in its user's log: what is pushed next, what waits, what is acknowledged.

No I/O and no clock: times are arguments, and what is to be done is returned. Offsets go up by one.
`next` is the first offset not written yet, and all there is to know about what is: whoever is
behind keeps nothing but that, and reads the rest from the inbox.

    JOINING   the node is being written into the user's route
    OPENING   the first page of the inbox is on its way; nothing was said yet
    READING   behind, and a page is on its way
    CHOKED    the same, but the socket takes no more: what comes is dropped
    HELD      the socket takes no more, nothing is on its way
    LIVE      all there is was written; what is pushed is written as it comes
    CLOSED    nothing has any effect

What follows on what. `note` remembers that there is more; READ means: ask the inbox for a page;
`owe` remembers one offset that is to be written once more as soon as something can be.

                 JOINING     OPENING     READING     CHOKED      HELD          LIVE
    joined       OPENING,    note        note        note        note          READING, READ
                 READ
    push next    .           note        note        note        note          WRITE
    push later   .           note        note        note        note          READING, READ
    push older   .           .           .           .           .             .
    again older  owe         owe         WRITE       owe         owe           WRITE
    again other  . or owe    note or owe note        note        note          READING, READ
    page         .           READING     .           .           .             .
    take next    .           .           WRITE       .           .             .
    end: more    .           .           READ        HELD        .             .
    end: all     .           .           LIVE        HELD        .             .
    full         .           .           CHOKED      .           .             HELD
    drained      .           .           .           READING     READING,      .
                                                                 READ, or
                                                                 LIVE
    unacked      .           .           note        .           .             READING, READ
    anew         .           note        note        note        note          READING, READ
    close        CLOSED      CLOSED      CLOSED      CLOSED      CLOSED        CLOSED

`again`: somebody asks for an offset to be pushed once more. If it is an older one, it is written
beside the order of the others, and changes nothing in that. (As long as the cursor is not known,
any may be an older one, and is owed.) `unacked`: the deadline below has passed. `anew`: the log
was lost and begins again with offset 1; a page that is on its way then counts for nothing.

Explicit acknowledgement works like TCP's (RFC 6298, 5): one deadline, for the oldest offset that
is not acknowledged; each acknowledgement of something new starts it again; when it passes, the
session rewinds to that offset and waits twice as long.
"""

from enum import Enum, auto
from typing import Final

from app.domain.close_codes import CloseCode
from app.gateway.actions import (
    NOTHING,
    READ,
    REFUSE,
    WRITE,
    Advance,
    Close,
    Gap,
    Hello,
    Repush,
    Reset,
    Said,
    Verdict,
)
from app.gateway.limits import Limits
from app.store.inbox import InboxPage

FAR: Final = 1 << 62  # beyond any offset: "there is more, nobody knows how much"
OWED_MAX: Final = 16  # offsets to be written once more when that can be done
NEVER: Final = float("inf")


class State(Enum):
    JOINING = auto()
    OPENING = auto()
    READING = auto()
    CHOKED = auto()
    HELD = auto()
    LIVE = auto()
    CLOSED = auto()


# As module names: looking up an enum's member costs three times as much, once a delivery.
JOINING, OPENING, READING = State.JOINING, State.OPENING, State.READING
CHOKED, HELD, LIVE, CLOSED = State.CHOKED, State.HELD, State.LIVE, State.CLOSED


class Session:
    """See the table above. Methods that return a bool called `read` say whether to ask the inbox;
    at most one page is ever asked for."""

    __slots__ = (
        "_acked",
        "_attempts",
        "_due",
        "_forgotten",
        "_limits",
        "_lost",
        "_noted",
        "_owed",
        "_progress_at",
        "_sent",
        "_stale",
        "_told",
        "_unsent",
        "early",
        "explicit",
        "next",
        "state",
    )

    def __init__(self, limits: Limits, *, explicit: bool, after: int | None, lost: bool) -> None:
        """`after` None starts at the acknowledged cursor. `lost`: the client knows another epoch,
        so that its `after` means nothing and it starts over."""
        self._limits = limits
        self.explicit = explicit
        self.state = JOINING
        self._lost = lost  # and not said yet
        self._stale = False  # the page on its way is of the log before this one
        self._forgotten = 0  # highest offset written of a log before this one
        self.next = 1 if lost else 0 if after is None else after + 1  # 0: not known yet
        self._noted = 0  # highest offset known of that did not come in its turn
        self._sent = 0  # highest offset ever written; below `next` but after a rewind
        self._owed: tuple[int, ...] = ()  # offsets to be written once more
        self._acked = max(self.next - 1, 0)  # up to here nothing is pushed again
        self.early = 0  # acknowledged before the first page
        self._told = 0  # highest acknowledgement; below `_acked` as long as that is a client's word
        self._attempts = 0  # pushes of the oldest unacknowledged offset
        self._due = NEVER  # when that is pushed again
        self._unsent = 0  # bytes, when there was progress last
        self._progress_at = 0.0

    @property
    def after(self) -> int | None:
        """What to ask the inbox for: what comes after this offset, None for after the cursor."""
        return self.next - 1 if self.next else None

    @property
    def sent(self) -> int:
        """The highest offset ever written."""
        return max(self._sent, self.next - 1)

    @property
    def is_closed(self) -> bool:
        return self.state is CLOSED

    @property
    def is_opening(self) -> bool:
        """Nothing was said yet."""
        return self.state is JOINING or self.state is OPENING

    @property
    def is_reading(self) -> bool:
        """Whether the events of a page will be taken."""
        return self.state is READING

    @property
    def is_full(self) -> bool:
        return self.state is HELD or self.state is CHOKED

    @property
    def due(self) -> float:
        """When `tick` may have something to say."""
        if self.is_full:
            return self._progress_at + self._limits.slow_timeout_s
        return self._due

    # What comes from the store.

    def joined(self) -> bool:
        """The route names this node now, or again: what is pushed from here on arrives."""
        if self.state is JOINING:
            self.state = OPENING
            self._noted = 0
            return True
        return self.lag()

    def push(self, offset: int) -> Verdict:
        if self.state is LIVE and offset == self.next:
            self.next = offset + 1
            return WRITE
        return READ if self._note(offset) else NOTHING

    def again(self, offset: int) -> Verdict:
        """This offset is to be pushed once more. WRITE: its event is to be had, then this asked
        again, then it is to be written."""
        if self.next and offset >= self.next:  # it will come in its turn
            return READ if self._note(offset) else NOTHING
        if self.state is LIVE or self.state is READING:
            return WRITE
        if self.state is CLOSED or offset in self._owed:
            return NOTHING
        if len(self._owed) >= OWED_MAX:
            return REFUSE
        self._owed = (*self._owed, offset)
        return NOTHING

    def lag(self) -> bool:
        """There may be more than was pushed here. Returns `read`."""
        return self._note(FAR)

    def begin_anew(self) -> bool:
        """All that this client has seen is of a log that is gone. Returns `read`."""
        if self.state is CLOSED:
            return False
        self._stale = self.state in (OPENING, READING, CHOKED)
        self._lost = True
        self._forget()
        return self._note(FAR)

    def page(self, page: InboxPage) -> list[Said]:
        """A page has come: what is to be said before its events. Then comes `take` for each of
        them, then `end`."""
        said: list[Said] = []
        if self._stale:
            return said
        if self.state is OPENING:
            self.state = READING
            said += self._open(page)
        if self.state is not READING:
            return said
        if self._lost or self.next > page.head + 1:  # the log lost what this client has seen
            said.append(Reset())
            self._lost = False
            self._forget()
        if self.next <= page.trimmed:
            said.append(Gap(self.next, page.trimmed))
            self._jump(page.trimmed + 1)
        return said

    def take(self, offset: int) -> bool:
        """Whether the page's event at this offset is to be written."""
        if self.state is READING and offset == self.next and not self._lost:
            self.next = offset + 1
            return True
        return False

    def end(self, head: int) -> bool:
        """The page is dealt with; `head` is the newest offset it knew. Returns `read`."""
        if self._stale:
            self._stale = False
            if self.state is OPENING:
                return True
        if self.state is CHOKED:
            self.state = HELD
            self._noted = max(self._noted, head)
        elif self.state is READING:
            if self._is_behind(head):
                return self._read()
            self.state = LIVE
        return False

    def owed(self) -> tuple[int, ...]:
        """What can now be pushed once more; to be asked for after `end` and `drained`."""
        if not self._owed or not (self.state is LIVE or self.state is READING):
            return ()
        owed, self._owed = self._owed, ()
        return owed

    # What comes from the socket.

    def full(self, now: float, unsent: int) -> None:
        """The socket takes no more; `unsent` bytes wait for it."""
        if self.state is LIVE:
            self.state = HELD
        elif self.state is READING:
            self.state = CHOKED
        else:
            return
        self._unsent, self._progress_at = unsent, now

    def drained(self) -> bool:
        """Nothing waits for the socket any more. Returns `read`."""
        if self.state is CHOKED:
            self.state = READING
        elif self.state is HELD:
            if self._is_behind(self._noted):
                return self._read()
            self.state = LIVE
        return False

    def written(self, now: float) -> None:
        """What was taken so far went into the socket."""
        if self.explicit and self._due == NEVER and self._acked < self.next - 1:
            self._attempts = 1
            self._due = now + self._limits.ack_timeout_s

    def ack(self, offset: int, now: float) -> Advance | Close | None:
        """The client has dealt with everything up to `offset`.

        Before the first page nobody knows whether that offset is of this log: it is kept in `early`
        and has to be told once more behind the page.
        """
        if self._lost or self.sent < offset <= self._forgotten:
            return None  # of a log that is gone: the client has not read yet that it is
        if offset > self.sent:
            reason = f"ack of {offset}, but nothing beyond {self.sent} was pushed"
            return Close(CloseCode.BAD_MESSAGE, reason)
        if self.is_opening:
            self.early = max(self.early, offset)
            return None
        if offset <= min(self._acked, self._told) or self.state is CLOSED:
            return None
        self._told = max(self._told, offset)
        if offset > self._acked:
            self._acked = offset
            self.next = max(self.next, offset + 1)  # not again what was being pushed again
            self._due = NEVER
            self.written(now)
        return Advance(offset)

    def close(self) -> None:
        self.state = CLOSED
        self._due = NEVER

    # What comes from the clock.

    def tick(self, now: float, unsent: int) -> Repush | Close | None:
        """Time has passed; `unsent` bytes wait for the socket."""
        if self.is_full:
            return self._watch(now, unsent)
        if now < self._due:
            return None
        if self._attempts >= self._limits.ack_attempts_max:
            reason = f"{self._acked + 1} was pushed {self._attempts} times, never acknowledged"
            return Close(CloseCode.UNACKNOWLEDGED, reason)
        return self._rewind(now)

    def _rewind(self, now: float) -> Repush:
        """Goes back to the oldest unacknowledged offset."""
        self._sent = self.sent
        self.next = self._acked + 1
        self._attempts += 1
        self._due = now + self._limits.ack_timeout_s * 2 ** (self._attempts - 1)
        return Repush(self.next, self._attempts, self._note(self._sent))

    def _open(self, page: InboxPage) -> list[Said]:
        if self.next == 0:
            self.next = page.cursor + 1
            self._acked = page.cursor
        self._told = page.cursor
        hello = Hello(page.head, page.cursor)
        said: list[Said] = [hello, Reset()] if self._lost else [hello]
        self._lost = False
        return said

    def _forget(self) -> None:
        """Starts over with offset 1."""
        self._forgotten = max(self._forgotten, self.sent)
        self._sent = self._told = 0
        self._owed = ()
        self._jump(1)

    def _jump(self, offset: int) -> None:
        """Goes on from another offset; nothing before it can be pushed again."""
        self.next = offset
        self._acked = offset - 1
        self._due = NEVER

    def _is_behind(self, head: int) -> bool:
        return self._lost or self.next <= max(head, self._noted)

    def _note(self, offset: int) -> bool:
        """There is something at this offset that was not written. Returns `read`."""
        if offset < self.next:
            return False
        self._noted = max(self._noted, offset)
        return self.state is LIVE and self._read()

    def _read(self) -> bool:
        self.state = READING
        self._noted = 0
        return True

    def _watch(self, now: float, unsent: int) -> Close | None:
        if unsent < self._unsent:
            self._unsent, self._progress_at = unsent, now
        elif now >= self._progress_at + self._limits.slow_timeout_s:
            return Close(CloseCode.TOO_SLOW, f"{unsent} bytes unread for too long")
        return None
