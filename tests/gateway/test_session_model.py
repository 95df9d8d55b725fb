"""A session in a world that does its worst: pushes that are late or lost, pages that are old, a
log that is trimmed or lost, a socket that fills up, a client that drops and comes back.

What the client must see, whatever happens: every offset in its turn, or the exact gap; a second
time only what was pushed again; and of a new log everything, once it was told that it is one.
"""

from collections import deque
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.strategies import booleans, floats, integers

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
)
from app.gateway.limits import Limits
from app.gateway.session import Session
from app.store.inbox import InboxPage

LIMITS = Limits(ack_timeout_s=30, ack_attempts_max=4, slow_timeout_s=10)
PAGE_MAX = 4


@dataclass
class Client:
    """What comes over one socket, checked as it comes."""

    turn: int  # the offset that is next in turn; 0 until the hello
    dealt: int = 0  # everything up to here came, or was told to be gone
    greeted: bool = False
    asked: list[int] = field(default_factory=list)  # to be pushed once more
    misled: bool = False  # the log it knows is gone, and it was not told yet

    def event(self, offset: int) -> None:
        assert self.greeted, "an event before the hello"
        assert not self.misled, "an event of a log that is gone"
        if offset == self.turn:
            self.turn += 1
            self.dealt = max(self.dealt, offset)
        else:
            assert offset in self.asked, f"{offset} came, {self.turn} was next"
            self.asked.remove(offset)

    def reset(self) -> None:
        assert self.misled, "a reset, and the log has lost nothing"
        self.turn, self.dealt, self.misled = 1, 0, False
        self.asked.clear()


class World(RuleBasedStateMachine):
    @initialize(explicit=booleans(), head=integers(0, 6), trimmed=integers(0, 6))
    def begin(self, explicit: bool, head: int, trimmed: int) -> None:
        self.explicit = explicit
        self.head = head
        self.trimmed = min(head, trimmed)
        self.cursor = 0
        self.now = 0.0
        self.connect(after=None)
        self.open()

    def connect(self, after: int | None, misled: bool = False) -> None:
        self.session = Session(LIMITS, explicit=self.explicit, after=after, lost=misled)
        self.client = Client(turn=0 if after is None else after + 1, dealt=after or 0)
        self.client.misled = misled
        self.is_routed = self.is_joined = False
        self.stream: deque[int] = deque()  # pushes on their way
        self.is_asked = False  # for a page
        self.page: InboxPage | None = None  # on its way, as the log was then
        self.rest: deque[int] = deque()  # of a page that is being handed out
        self.page_head = 0
        self.is_paged = False  # being handed out
        self.is_full = False
        self.fetches: deque[int] = deque()  # events to be written once more
        self.owes = 0  # asked for while it could not be written; may also just come in its turn

    # The log.

    @rule(count=integers(1, 3))
    def post(self, count: int) -> None:
        for _ in range(count):
            self.head += 1
            if self.is_routed:
                self.stream.append(self.head)

    @precondition(lambda self: self.head - self.trimmed > 8)
    @rule(count=integers(1, 10))
    def trim(self, count: int) -> None:
        self.trimmed = min(self.head, self.trimmed + count)

    @rule(stays_in_stream=booleans())
    def lose_log(self, stays_in_stream: bool) -> None:
        """The store was emptied, and the gateway has noticed."""
        self.head = self.trimmed = self.cursor = 0
        if not stays_in_stream:
            self.stream.clear()
        self.fetches.clear()
        self.owes = 0
        self.client.misled = True
        self.note_read(self.session.begin_anew())

    # The way of a push.

    @precondition(lambda self: not self.is_routed)
    @rule()
    def route(self) -> None:
        self.is_routed = True

    @precondition(lambda self: self.is_routed)
    @rule()
    def joined(self) -> None:
        self.is_joined = True
        self.note_read(self.session.joined())

    @precondition(lambda self: self.stream)
    @rule()
    def push(self) -> None:
        offset = self.stream.popleft()
        verdict = self.session.push(offset)
        if verdict is WRITE:
            self.write(offset)
        self.note_read(verdict is READ)

    @precondition(lambda self: self.stream)
    @rule(rejoins=booleans())
    def lose_pushes(self, rejoins: bool) -> None:
        """The stream was cut, or its entries have no bodies."""
        self.stream.clear()
        self.note_read(self.session.joined() if rejoins else self.session.lag())

    # The way of a page.

    def note_read(self, read: bool) -> None:
        if read:
            assert not self.is_asked, "asked twice for a page"
            assert self.page is None, "asked for a page with one on its way"
            assert not self.is_paged, "asked for a page in the middle of one"
            self.is_asked = True

    @precondition(lambda self: self.is_asked)
    @rule()
    def read_page(self) -> None:
        self.is_asked = False
        after = self.cursor if self.session.after is None else self.session.after
        first = max(after, self.trimmed) + 1
        count = max(0, min(PAGE_MAX, self.head + 1 - first))
        # The events do not matter here, only their places.
        self.page = InboxPage(self.trimmed, self.head, self.cursor, after, (None,) * count)  # type: ignore[arg-type]

    @precondition(lambda self: self.page is not None)
    @rule()
    def begin_page(self) -> None:
        page, self.page = self.page, None
        assert page is not None
        if not self.client.turn:
            self.client.turn = page.cursor + 1
            self.client.dealt = page.cursor
        for said in self.session.page(page):
            match said:
                case Hello(head, cursor):
                    assert not self.client.greeted
                    assert (head, cursor) == (page.head, page.cursor)
                    self.client.greeted = True
                case Reset():
                    assert self.client.greeted
                    self.client.reset()
                case Gap(first, last):
                    assert self.client.greeted
                    assert (first, last) == (self.client.turn, page.trimmed)
                    self.client.turn = last + 1
                    self.client.dealt = max(self.client.dealt, last)
        self.is_paged, self.page_head = True, page.head
        self.rest = deque(range(page.first_offset, page.first_offset + len(page.events)))

    @precondition(lambda self: self.is_paged)
    @rule(count=integers(1, PAGE_MAX))
    def hand_out(self, count: int) -> None:
        while self.rest and count:
            count -= 1
            offset = self.rest.popleft()
            if self.session.take(offset):
                self.write(offset)

    @precondition(lambda self: self.is_paged and not self.rest)
    @rule()
    def end_page(self) -> None:
        self.is_paged = False
        self.note_read(self.session.end(self.page_head))
        self.pay()

    # The socket.

    def write(self, offset: int) -> None:
        assert not self.is_full, "written to a socket that takes no more"
        self.client.event(offset)
        if self.explicit:
            self.session.written(self.now)
        elif not self.client.misled:
            self.cursor = max(self.cursor, self.session.next - 1)

    @precondition(lambda self: not self.is_full and not self.session.is_opening)
    @rule()
    def fill(self) -> None:
        self.session.full(self.now, 100)
        self.is_full = self.session.is_full

    @precondition(lambda self: self.is_full)
    @rule()
    def drain(self) -> None:
        self.is_full = False
        self.note_read(self.session.drained())
        self.pay()

    # Once more.

    @precondition(lambda self: self.head)
    @rule(back=integers(0, 5))
    def ask_again(self, back: int) -> None:
        self.again(max(1, self.head - back))

    def again(self, offset: int) -> None:
        verdict = self.session.again(offset)
        if verdict is WRITE:
            self.fetches.append(offset)
        self.note_read(verdict is READ)
        assert verdict is not REFUSE or self.owes >= 16
        self.owes += verdict is NOTHING

    def pay(self) -> None:
        for offset in self.session.owed():
            self.again(offset)

    @precondition(lambda self: self.fetches)
    @rule()
    def fetch(self) -> None:
        offset = self.fetches.popleft()
        if offset <= self.trimmed:
            return
        verdict = self.session.again(offset)
        if verdict is WRITE:
            self.client.asked.append(offset)
            turn = self.client.turn
            self.write(offset)
            assert self.client.turn == turn, "it took the turn of another"
        self.note_read(verdict is READ)

    # The client.

    @precondition(lambda self: self.explicit and self.client.dealt)
    @rule(back=integers(0, 3))
    def ack(self, back: int) -> None:
        offset = self.client.dealt - back
        if offset < 0:
            return
        action = self.session.ack(offset, self.now)
        assert not isinstance(action, Close), action
        assert not (self.client.misled and action), "it was of a log that is gone"
        if isinstance(action, Advance):
            self.cursor = max(self.cursor, offset)
            # What is being pushed again and is covered now does not come.
            self.client.turn = max(self.client.turn, offset + 1)

    @rule(wait_s=floats(0.1, 40.0))
    def wait(self, wait_s: float) -> None:
        self.now += wait_s
        action = self.session.tick(self.now, 100)
        if isinstance(action, Repush):
            assert self.explicit
            assert self.cursor < action.offset <= self.client.dealt
            assert 2 <= action.attempts <= LIMITS.ack_attempts_max
            self.client.turn = action.offset
            self.note_read(action.read)
        elif isinstance(action, Close):
            self.reconnect(from_cursor=False)

    @precondition(lambda self: self.client.greeted)
    @rule(from_cursor=booleans(), swiftly=booleans())
    def drop(self, from_cursor: bool, swiftly: bool) -> None:
        self.reconnect(from_cursor)
        if swiftly:
            self.open()

    def reconnect(self, from_cursor: bool) -> None:
        self.session.close()
        knows = self.client.greeted and not from_cursor
        self.connect(self.client.dealt if knows else None, self.client.misled)

    def open(self) -> None:
        self.is_routed = True
        self.joined()
        self.read_page()
        self.begin_page()

    @rule(steps=integers(1, 4))
    def go_on(self, steps: int) -> None:
        """Whatever is on its way comes."""
        for _ in range(steps):
            if not self.is_joined:
                self.is_routed = True
                self.joined()
            elif self.is_asked:
                self.read_page()
            elif self.page:
                self.begin_page()
            elif self.is_paged:
                self.hand_out(PAGE_MAX)
                if not self.rest:
                    self.end_page()
            elif self.is_full:
                self.drain()

    # What holds at every moment, and in the end.

    @invariant()
    def nobody_is_told_of_what_they_were_not_sent(self) -> None:
        if self.client.greeted and not self.client.misled:
            assert self.session.next <= self.head + 1
            assert self.client.turn == self.session.next

    def teardown(self) -> None:
        """With nothing more in the way everything comes."""
        if not hasattr(self, "session"):
            return
        for _ in range(200):
            self.go_on(1)
            if self.stream:
                self.push()
            if self.fetches:
                self.fetch()
        assert self.client.greeted
        assert not self.client.misled
        assert self.client.dealt == self.head
        assert self.session.owed() == ()


World.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestEverySessionInAnyWorld = World.TestCase
