from app.gateway.actions import Gap, Hello, Reset
from app.gateway.wording import goodbye, words


def test_what_is_said_besides_events_is_as_the_contract_has_it():
    place = {"user": "bob", "epoch": "e1", "ping_s": 25.0}
    assert words(Hello(7, 3), **place) == {
        "type": "hello",
        "user": "bob",
        "epoch": "e1",
        "head": 7,
        "cursor": 3,
        "ping_s": 25.0,
    }
    assert words(Gap(4, 9), **place) == {"type": "gap", "from": 4, "to": 9}
    assert words(Reset(), **place) == {"type": "reset", "epoch": "e1"}
    assert goodbye("shutdown", 350) == {
        "type": "goodbye",
        "reason": "shutdown",
        "reconnect_ms": 350,
    }
