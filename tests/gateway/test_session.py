"""Every cell of the table in the session's module, then what the table leaves to words."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

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
)
from app.gateway.limits import Limits
from app.gateway.session import (
    CHOKED,
    CLOSED,
    HELD,
    JOINING,
    LIVE,
    NEVER,
    OPENING,
    OWED_MAX,
    READING,
    Session,
    State,
)
from app.store.inbox import InboxPage

LIMITS = Limits(ack_timeout_s=30, ack_attempts_max=3, slow_timeout_s=10)
STATES = (JOINING, OPENING, READING, CHOKED, HELD, LIVE, CLOSED)


def page(head: int, *, trimmed: int = 0, cursor: int = 10, after: int = 10) -> InboxPage:
    """What a session looks at: the events are given to it one by one."""
    return InboxPage(trimmed, head, cursor, after, ())


def make(*, explicit: bool = False, after: int | None = 10, lost: bool = False) -> Session:
    return Session(LIMITS, explicit=explicit, after=after, lost=lost)


def reading(session: Session, head: int = 10, **fields: int) -> Session:
    session.joined()
    session.page(page(head, **fields))
    return session


def live(session: Session) -> Session:
    reading(session).end(10)
    return session


def in_state(state: State, *, explicit: bool = False) -> Session:
    """A session in this state, for which 11 comes next and nothing more is known of."""
    session = make(explicit=explicit)
    if state is OPENING:
        session.joined()
    elif state is READING:
        reading(session)
    elif state is CHOKED:
        reading(session).full(0.0, 1)
    elif state is HELD:
        live(session).full(0.0, 1)
    elif state is LIVE:
        live(session)
    elif state is CLOSED:
        live(session).close()
    assert session.state is state
    assert session.next == 11
    return session


def has_noted(session: Session) -> bool:
    """Whether it asks for a page once everything that it waits for has come."""
    asked = False
    if session.state is JOINING:
        session.joined()
    if session.state is OPENING:
        session.page(page(10))
    if session.state in (READING, CHOKED):
        asked = session.end(session.next - 1)
    if session.state is HELD:
        asked = session.drained()
    return asked


# For each event what becomes of the states in the order of STATES: the new state, what is
# returned, and "note" when it remembers that there is more.
Cell = tuple[Any, ...]
JUST_STAYS: Cell = ()
NOTE: Cell = ("note",)

TABLE: dict[str, tuple[Callable[[Session], Any], tuple[Cell, ...]]] = {
    "joined": (
        lambda session: session.joined(),
        ((OPENING, True), NOTE, NOTE, NOTE, NOTE, (READING, True), JUST_STAYS),
    ),
    "push next": (
        lambda session: session.push(11),
        (JUST_STAYS, NOTE, NOTE, NOTE, NOTE, (LIVE, WRITE), JUST_STAYS),
    ),
    "push later": (
        lambda session: session.push(13),
        (JUST_STAYS, NOTE, NOTE, NOTE, NOTE, (READING, READ), JUST_STAYS),
    ),
    "push older": (lambda session: session.push(9), (JUST_STAYS,) * 7),
    "lag": (
        lambda session: session.lag(),
        (JUST_STAYS, NOTE, NOTE, NOTE, NOTE, (READING, True), JUST_STAYS),
    ),
    "again older": (
        lambda session: session.again(9),
        (JUST_STAYS, JUST_STAYS, (READING, WRITE), JUST_STAYS, JUST_STAYS, (LIVE, WRITE), ()),
    ),
    "again other": (
        lambda session: session.again(11),
        (JUST_STAYS, NOTE, NOTE, NOTE, NOTE, (READING, READ), JUST_STAYS),
    ),
    "page": (
        lambda session: session.page(page(10)),
        ((JOINING, []), (READING, [Hello(10, 10)]), *[(state, []) for state in STATES[2:]]),
    ),
    "take next": (
        lambda session: session.take(11),
        (JUST_STAYS, JUST_STAYS, (READING, True), *[JUST_STAYS] * 4),
    ),
    "take later": (lambda session: session.take(12), (JUST_STAYS,) * 7),
    "take older": (lambda session: session.take(10), (JUST_STAYS,) * 7),
    "end: more": (
        lambda session: session.end(12),
        (JUST_STAYS, JUST_STAYS, (READING, True), (HELD, False, "note"), *[JUST_STAYS] * 3),
    ),
    "end: all": (
        lambda session: session.end(10),
        (JUST_STAYS, JUST_STAYS, (LIVE, False), (HELD, False), *[JUST_STAYS] * 3),
    ),
    "full": (
        lambda session: session.full(1.0, 5),
        (JUST_STAYS, JUST_STAYS, (CHOKED, None), JUST_STAYS, JUST_STAYS, (HELD, None), ()),
    ),
    "drained": (
        lambda session: session.drained(),
        (JUST_STAYS, JUST_STAYS, JUST_STAYS, (READING, False), (LIVE, False), (), ()),
    ),
    "unacked": (lambda session: session.tick(5.0, 0), (JUST_STAYS,) * 7),
    "close": (lambda session: session.close(), ((CLOSED, None),) * 7),
}
CELLS = [
    pytest.param(state, event, cell, id=f"{event}, {state.name}")
    for event, (_, row) in TABLE.items()
    for state, cell in zip(STATES, row, strict=True)
]


@pytest.mark.parametrize(("state", "event", "cell"), CELLS)
def test_each_cell_of_the_table(state: State, event: str, cell: Cell):
    session = in_state(state)
    result = TABLE[event][0](session)
    noted = "note" in cell
    expected = [part for part in cell if part != "note"]
    if expected:
        assert (session.state, result) == tuple(expected)
    else:
        assert session.state is state
        assert result in (False, NOTHING, None)
    if session.state not in (CLOSED, LIVE) and not (session.state is READING and result):
        assert has_noted(session) is noted


def test_what_is_noted_while_held_is_read_when_the_socket_has_drained():
    session = in_state(HELD)
    session.push(11)
    assert session.drained()
    assert session.state is READING
    assert session.after == 10


def test_what_choked_missed_is_read_after_its_page_has_ended_and_it_drained():
    session = in_state(CHOKED)
    assert not session.end(12)
    assert session.drained()
    assert (session.state, session.after) == (READING, 10)


def test_a_socket_that_drains_before_its_page_ends_takes_the_rest_of_the_page():
    session = reading(make(), head=13)
    assert session.take(11)
    session.full(0.0, 1)
    assert not session.take(12)
    session.drained()
    assert session.take(12)
    assert session.take(13)
    assert not session.end(13)
    assert session.state is LIVE


def test_a_page_without_all_there_is_is_followed_by_another():
    session = reading(make(), head=12)
    session.take(11)
    assert session.end(12)
    assert session.after == 11


# How it begins.


def test_without_an_offset_it_starts_at_the_acknowledged_cursor():
    session = make(after=None)
    session.joined()
    assert session.after is None
    assert session.page(page(12, cursor=4, after=4)) == [Hello(12, 4)]
    assert session.after == 4


def test_pushes_before_the_first_page_are_read_from_the_inbox_not_written():
    session = make(after=None)
    session.joined()
    assert session.push(13) is NOTHING
    session.page(page(12, cursor=12))
    assert session.end(12)


def test_a_client_with_offsets_of_another_epoch_starts_over():
    session = make(after=700, lost=True)
    session.joined()
    assert session.page(page(12, cursor=3, after=0)) == [Hello(12, 3), Reset()]
    assert session.after == 0


def test_a_client_ahead_of_the_log_is_reset():
    session = make(after=50)
    session.joined()
    assert session.page(page(12, after=50)) == [Hello(12, 10), Reset()]
    assert session.after == 0


def test_a_client_exactly_at_the_head_is_not_reset():
    session = make(after=12)
    session.joined()
    assert session.page(page(12, after=12)) == [Hello(12, 10)]


def test_what_was_trimmed_away_is_told_exactly():
    session = make(after=10)
    session.joined()
    assert session.page(page(40, trimmed=25)) == [Hello(40, 10), Gap(11, 25)]
    assert session.take(26)


def test_a_gap_may_be_a_single_offset():
    session = make(after=10)
    session.joined()
    assert session.page(page(40, trimmed=11)) == [Hello(40, 10), Gap(11, 11)]
    assert session.page(page(40, trimmed=11, after=11)) == []


def test_a_reset_into_a_trimmed_log_tells_the_gap_from_the_start():
    session = make(after=99)
    session.joined()
    assert session.page(page(40, trimmed=25)) == [Hello(40, 10), Reset(), Gap(1, 25)]
    assert session.after == 25


def test_a_log_that_lost_its_end_while_the_socket_was_open_resets_it():
    session = live(make())
    for offset in (11, 12, 13):
        session.push(offset)
    session.joined()
    assert session.page(page(11, after=13)) == [Reset()]
    assert session.after == 0
    assert session.sent == 0


# Acknowledgement.


def acking(*, sent: int = 15) -> Session:
    """Live, explicit, with 11 … `sent` written at time 0."""
    session = live(make(explicit=True))
    for offset in range(11, sent + 1):
        assert session.push(offset) is WRITE
    session.written(0.0)
    return session


def test_an_acknowledgement_moves_the_cursor_and_is_cumulative():
    session = acking()
    assert session.ack(13, 1.0) == Advance(13)
    assert session.ack(12, 2.0) is None
    assert session.ack(13, 3.0) is None
    assert session.due == 31.0


def test_nothing_is_due_once_all_is_acknowledged():
    session = acking()
    session.ack(15, 1.0)
    assert session.due == NEVER
    assert session.tick(10_000.0, 0) is None


def test_an_acknowledgement_of_what_was_never_pushed_closes():
    action = acking().ack(16, 1.0)
    assert isinstance(action, Close)
    assert action.code is CloseCode.BAD_MESSAGE
    assert "16" in action.reason


@pytest.mark.parametrize("state", [JOINING, OPENING])
def test_nothing_can_be_acknowledged_before_it_was_pushed_or_claimed(state: State):
    session = in_state(state, explicit=True)
    assert isinstance(session.ack(11, 0.0), Close)
    assert session.ack(9, 0.0) is None
    assert session.ack(10, 0.0) is None
    assert session.early == 10


def test_the_offset_a_client_came_with_can_still_be_acknowledged():
    """Above the cursor it was pushed on an earlier socket; the cursor has to get there."""
    session = reading(make(explicit=True, after=10), cursor=5)
    session.end(10)
    assert session.ack(7, 0.0) == Advance(7)
    assert session.ack(10, 0.0) == Advance(10)
    assert session.ack(10, 0.0) is None


def test_what_is_not_acknowledged_in_time_is_pushed_again_from_the_oldest_on():
    session = acking()
    session.ack(12, 10.0)
    assert session.tick(39.9, 0) is None
    assert session.tick(40.0, 0) == Repush(13, 2, read=True)
    assert session.after == 12
    session.page(page(15, after=12))
    assert [session.take(offset) for offset in (13, 14, 15)] == [True] * 3
    assert not session.end(15)
    assert session.state is LIVE


def test_each_push_again_waits_twice_as_long_and_the_last_one_ends_in_closing():
    session = acking(sent=11)
    times = []
    now = 0.0
    while True:
        now = session.due
        times.append(now)
        action = session.tick(now, 0)
        if isinstance(action, Close):
            break
        session.page(page(11, after=10))
        session.take(11)
        session.end(11)
        session.written(now)
    assert times == [30.0, 30.0 + 60.0, 30.0 + 60.0 + 120.0]
    assert action.code is CloseCode.UNACKNOWLEDGED
    assert "11 was pushed 3 times" in action.reason


def test_an_acknowledgement_while_it_is_pushed_again_skips_what_it_covers():
    session = acking()
    session.tick(30.0, 0)
    session.page(page(15, after=10))
    assert session.take(11)
    assert session.ack(13, 31.0) == Advance(13)
    assert not session.take(12)
    assert not session.take(13)
    assert session.take(14)


def test_everything_sent_may_be_acknowledged_while_it_is_pushed_again():
    session = acking()
    session.tick(30.0, 0)
    assert session.ack(15, 31.0) == Advance(15)
    assert session.ack(16, 31.0) is not None


def test_new_pushes_while_it_is_pushed_again_come_in_their_turn():
    session = acking(sent=12)
    session.tick(30.0, 0)
    assert session.push(13) is NOTHING
    session.page(page(12, after=10))
    session.take(11)
    session.take(12)
    assert session.end(12)
    assert session.after == 12


def test_nothing_is_pushed_again_while_the_socket_takes_no_more():
    session = acking()
    session.full(1.0, 70_000)
    assert session.tick(10.9, 60_000) is None
    assert session.state is HELD


@pytest.mark.parametrize("state", [READING, LIVE])
def test_a_deadline_that_passes_in_a_page_rewinds_behind_it(state: State):
    session = acking()
    if state is READING:
        session.lag()
    assert session.tick(30.0, 0) == Repush(11, 2, read=state is LIVE)
    assert session.state is READING
    if state is READING:
        assert not session.take(16)
        assert session.end(16)
    assert session.after == 10


def test_with_automatic_acknowledgement_nothing_is_ever_due():
    session = live(make())
    session.push(11)
    session.written(0.0)
    assert session.due == NEVER


def test_a_gap_ends_the_waiting_for_what_is_in_it():
    session = acking()
    session.tick(30.0, 0)
    assert session.page(page(15, trimmed=14, after=10)) == [Gap(11, 14)]
    assert session.due == NEVER
    assert session.take(15)
    session.written(31.0)
    assert session.due == 61.0


# Slow readers.


def test_no_progress_in_time_closes():
    session = live(make())
    session.full(5.0, 70_000)
    assert session.due == 15.0
    action = session.tick(15.0, 70_000)
    assert isinstance(action, Close)
    assert action.code is CloseCode.TOO_SLOW
    assert "70000" in action.reason


def test_progress_gives_more_time():
    session = live(make())
    session.full(5.0, 70_000)
    assert session.tick(15.0, 69_999) is None
    assert session.due == 25.0
    assert session.tick(24.9, 69_999) is None
    assert session.tick(25.0, 70_500) is not None


# Pushed once more on request.


@pytest.mark.parametrize("state", [CHOKED, HELD])
def test_a_full_socket_gets_it_once_it_has_drained(state: State):
    session = in_state(state)
    assert session.again(9) is NOTHING
    assert session.again(9) is NOTHING
    assert session.again(4) is NOTHING
    assert session.owed() == ()
    session.drained()
    assert session.owed() == (9, 4)
    assert session.owed() == ()
    assert session.again(9) is WRITE


@pytest.mark.parametrize("state", [JOINING, OPENING])
def test_a_socket_that_opens_gets_it_after_its_first_page(state: State):
    session = in_state(state)
    assert session.again(9) is NOTHING
    assert session.owed() == ()
    if state is JOINING:
        session.joined()
    session.page(page(10))
    session.end(10)
    assert session.owed() == (9,)


@pytest.mark.parametrize("offset", [9, 11])
def test_a_socket_that_does_not_know_its_cursor_yet_remembers_any_offset(offset: int):
    session = make(after=None)
    session.joined()
    assert session.again(offset) is NOTHING
    session.page(page(12, cursor=10))
    assert session.owed() == (offset,)
    assert session.again(offset) is (WRITE if offset <= 10 else NOTHING)


def test_more_than_it_can_remember_is_refused():
    session = make(after=100)
    assert {session.again(offset) for offset in range(1, OWED_MAX + 1)} == {NOTHING}
    assert session.again(OWED_MAX + 1) is REFUSE
    assert session.again(1) is NOTHING


def test_it_changes_nothing_in_the_order_of_the_others():
    session = acking()
    before = everything_in(session)
    assert session.again(12) is WRITE
    assert everything_in(session) == before


def test_a_closed_session_owes_nothing():
    session = in_state(CLOSED)
    assert session.again(9) is NOTHING
    assert session.owed() == ()


def everything_in(session: Session) -> dict[str, Any]:
    return {name: getattr(session, name) for name in Session.__slots__}


# What a look at it says.


@pytest.mark.parametrize("state", STATES)
def test_what_it_says_of_its_state(state: State):
    session = in_state(state)
    assert session.is_closed is (state is CLOSED)
    assert session.is_opening is (state in (JOINING, OPENING))
    assert session.is_reading is (state is READING)
    assert session.is_full is (state in (CHOKED, HELD))


def test_a_limit_is_taken_as_it_is_set():
    limits = replace(LIMITS, ack_timeout_s=7)
    session = live(Session(limits, explicit=True, after=10, lost=False))
    session.push(11)
    session.written(0.0)
    assert session.due == 7.0
