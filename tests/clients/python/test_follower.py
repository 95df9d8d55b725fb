"""The log as a client sees it, message by message."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tokens import make_token
from moments_client import Event, Position, UnexpectedAnswer
from moments_client.answers import Gap, PushedPost
from moments_client.credential import expires_at_s, read_credential
from moments_client.follower import Follower, HoleError
from moments_client.messages import Goodbye, Hello, Reset

POST = {
    "id": "01kg9ys7g0d2pf2d03",
    "author": "ann",
    "type": "post",
    "version": 1,
    "created_at": "2026-01-31T12:00:00.000Z",
    "data": {"text": "hello"},
}


def hello(epoch: str = "e", head: int = 9, cursor: int = 0) -> dict[str, Any]:
    return {
        "type": "hello",
        "user": "bob",
        "epoch": epoch,
        "head": head,
        "cursor": cursor,
        "ping_s": 25,
    }


def event(offset: int) -> dict[str, Any]:
    return {"type": "post.created", "offset": offset, "post": POST}


def offsets(follower: Follower, *messages: dict[str, Any]) -> list[int]:
    told = [one for message in messages for one in follower.take(message)]
    return [one.offset for one in told if isinstance(one, Event)]


def test_it_begins_at_the_cursor_unless_it_knows_better():
    follower = Follower(None)
    assert follower.parameters() == {}
    assert offsets(follower, hello(cursor=4), event(5), event(6)) == [5, 6]
    assert follower.parameters() == {"after": "6", "epoch": "e"}
    assert Follower(Position(7)).parameters() == {"after": "7"}
    follower = Follower(Position(7, "e"))
    assert offsets(follower, hello(cursor=2), event(8)) == [8]


def test_an_event_is_typed_and_knows_its_position():
    follower = Follower(None)
    follower.take(hello())
    [told] = follower.take(event(1))
    assert isinstance(told, Event)
    assert isinstance(told.post, PushedPost)
    assert (told.post.data, told.position) == ({"text": "hello"}, Position(1, "e"))


def test_what_comes_twice_is_told_once():
    follower = Follower(None)
    messages = [hello(), event(1), event(2), event(1), event(2), event(3)]
    assert offsets(follower, *messages) == [1, 2, 3]


def test_a_hole_is_no_event():
    follower = Follower(None)
    assert offsets(follower, hello(), event(1)) == [1]
    with pytest.raises(HoleError, match="offset 3 came after 1"):
        follower.take(event(3))
    assert follower.parameters()["after"] == "1"


def test_a_gap_is_told_and_passed_over():
    follower = Follower(Position(2, "e"))
    told = follower.take(hello()) + follower.take({"type": "gap", "from": 3, "to": 5})
    assert told[1:] == [Gap(from_=3, to=5)]
    assert follower.take({"type": "gap", "from": 3, "to": 5}) == []
    assert offsets(follower, event(6)) == [6]


def test_a_log_that_began_anew_is_told_once():
    follower = Follower(Position(7, "old"))
    told = follower.take(hello("new")) + follower.take({"type": "reset", "epoch": "new"})
    assert [type(one) for one in told] == [Hello, Reset]
    assert offsets(follower, event(1)) == [1]
    [told] = follower.take({"type": "reset", "epoch": "new"})  # it lost its end, with its name kept
    assert isinstance(told, Reset)
    assert offsets(follower, event(1)) == [1]


def test_a_connection_that_breaks_before_the_reset_does_not_take_the_old_offset_along():
    follower = Follower(Position(7, "old"))
    follower.take(hello("new"))
    assert follower.parameters() == {"after": "0", "epoch": "new"}
    assert offsets(follower, hello("new"), event(1)) == [1]
    assert [type(one) for one in follower.take({"type": "reset", "epoch": "new"})] == [Reset]


def test_goodbyes_are_passed_on_and_what_is_new_is_passed_over():
    follower = Follower(None)
    [told] = follower.take({"type": "goodbye", "reason": "shutdown", "reconnect_ms": 700})
    assert told == Goodbye(reason="shutdown", reconnect_ms=700)
    assert follower.take({"type": "weather", "sun": True}) == []


def test_an_event_before_the_hello_is_of_another_service():
    with pytest.raises(UnexpectedAnswer, match="before its hello"):
        Follower(None).take(event(1))
    follower = Follower(None)
    follower.take(hello())
    with pytest.raises(UnexpectedAnswer):
        follower.take({**event(1), "offset": "1"})


@given(st.lists(st.integers(1, 12), max_size=40))
def test_whatever_comes_offsets_go_up_by_one(coming: list[int]):
    """Holes end the connection; the next one goes on from where this one was."""
    follower, told = Follower(None), []
    follower.take(hello())
    for offset in coming:
        try:
            told += [one.offset for one in follower.take(event(offset)) if isinstance(one, Event)]
        except HoleError:
            assert follower.parameters()["after"] == str(len(told))
            assert follower.take(hello(cursor=0))
    assert told == list(range(1, len(told) + 1))


def test_a_token_is_renewed_before_it_ends():
    token = make_token("a secret for user tokens, long enough", "bob", ttl_s=100, now_s=1_000)
    assert expires_at_s(token) == 1_100
    assert read_credential(token, 1_000).renew_in_s == 80
    assert read_credential(token, 1_099.9).renew_in_s == 1
    assert read_credential(token, 5_000).renew_in_s == 1


@pytest.mark.parametrize("token", ["", "opaque", "a.b.c", "a.e30.c", "a.eyJleHAiOiJ4In0.c"])
def test_a_token_that_tells_no_end_is_kept(token: str):
    assert read_credential(token, 0).renew_in_s is None
