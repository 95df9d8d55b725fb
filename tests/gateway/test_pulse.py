from app.gateway.limits import Limits
from app.gateway.pulse import Pulse
from app.gateway.session import NEVER

LIMITS = Limits(ping_s=25, pong_timeout_s=10)


def test_silence_is_due_for_a_ping():
    pulse = Pulse(100.0)
    assert (pulse.ping_due(LIMITS), pulse.answer_due(LIMITS)) == (125.0, NEVER)
    pulse.heard(110.0)
    assert pulse.ping_due(LIMITS) == 135.0


def test_a_ping_is_due_for_an_answer_and_not_followed_by_another():
    pulse = Pulse(100.0)
    pulse.pinged(125.0)
    assert (pulse.ping_due(LIMITS), pulse.answer_due(LIMITS)) == (NEVER, 135.0)
    pulse.heard(126.0)
    assert (pulse.ping_due(LIMITS), pulse.answer_due(LIMITS)) == (151.0, NEVER)


def test_a_clock_may_begin_with_zero():
    pulse = Pulse(0.0)
    pulse.pinged(0.0)
    assert pulse.answer_due(LIMITS) == 10.0
