import pytest

from app.gateway.notices import PERIOD_S, Notices


def test_a_limit_reached_often_has_a_line_now_and_then(caplog: pytest.LogCaptureFixture):
    now = 50.0
    notices = Notices(lambda: now)
    for _ in range(1_000):
        notices.tell("sockets_max", "a socket was refused", user="bob")
    notices.tell("repeats", "not pushed again")
    now += PERIOD_S
    notices.tell("sockets_max", "a socket was refused", user="eve")
    said = [(line.message, line.limit, line.times) for line in caplog.records]
    assert said == [
        ("a socket was refused", "sockets_max", 1),
        ("not pushed again", "repeats", 1),
        ("a socket was refused", "sockets_max", 1_000),
    ]
    assert caplog.records[-1].user == "eve"
