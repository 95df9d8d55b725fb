"""Where a socket client stands, frame by frame."""

from typing import Any

from app.commands.resume import Place


def after(place: Place, *frames: dict[str, Any]) -> Place:
    for frame in frames:
        place = place.seen(frame)
    return place


def hello(epoch: str) -> dict[str, Any]:
    return {"type": "hello", "epoch": epoch, "head": 9, "cursor": 0}


def test_it_stands_behind_the_newest_event_and_is_not_put_back():
    place = after(Place(), hello("a"), {"offset": 1}, {"offset": 2}, {"offset": 1})
    assert place.parameters() == {"after": "2", "epoch": "a"}
    assert after(place, {"type": "gap", "from": 3, "to": 7}).after == 7
    assert Place().parameters() == {}


def test_a_log_that_began_anew_is_read_from_its_start():
    reset = {"type": "reset", "epoch": "b"}
    place = after(Place(12, "a"), hello("b"), reset, {"offset": 1})
    assert place == Place(1, "b")


def test_a_connection_that_breaks_before_the_reset_does_not_take_the_old_offset_along():
    assert after(Place(12, "a"), hello("b")) == Place(0, "b")
    assert after(Place(12), hello("b")) == Place(12, "b")
