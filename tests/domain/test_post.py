import pytest

from app.domain.post import Event, EventKind, Post, accepted_at_ms

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def post(version: int, trace: str = "") -> Post:
    return Post("p", "ann", "post", version, 1_000, 5_000, b"{}", trace=trace)


@pytest.mark.parametrize(
    ("kind", "version", "at_ms"),
    [
        (EventKind.CREATED, 1, 1_000),
        (EventKind.UPDATED, 3, 5_000),
        (EventKind.DELETED, 3, 5_000),
        (EventKind.UPDATED, 2, 0),  # a later one has overwritten when it was
    ],
)
def test_when_an_event_was_accepted_is_known_of_the_first_and_the_last(
    kind: EventKind, version: int, at_ms: int
):
    assert accepted_at_ms(post(3), Event("p", version, kind)) == at_ms


def test_nothing_is_known_of_a_post_that_is_not_kept():
    assert accepted_at_ms(None, Event("p", 1, EventKind.CREATED)) == 0


def test_a_post_holds_the_trace_of_the_version_that_was_traced_last():
    held = post(3, f"2 {TRACEPARENT}")
    assert held.traceparent_of(2) == TRACEPARENT.encode()
    assert held.traceparent_of(1) is None
    assert held.traceparent_of(3) is None


@pytest.mark.parametrize("trace", ["", "1", "1 ", "1 nonsense", f"1 {TRACEPARENT} x", "\ufffd"])
def test_a_trace_that_cannot_be_read_is_none(trace: str):
    assert post(1, trace).traceparent_of(1) is None
