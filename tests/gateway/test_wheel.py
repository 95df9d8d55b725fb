from dataclasses import dataclass, field

from hypothesis import given
from hypothesis.strategies import floats, integers, lists, one_of, sampled_from, tuples

from app.gateway.wheel import NOWHERE, SLOTS, TICK_S, Wheel

TURN_S = SLOTS * TICK_S


@dataclass(eq=False)
class Someone:
    slot: int = NOWHERE
    checks: list[float] = field(default_factory=list)

    def check(self, now: float) -> None:
        self.checks.append(now)


def test_who_is_due_comes_out_once():
    wheel, one = Wheel(100.0), Someone()
    wheel.at(one, 101.0)
    assert wheel.due(100.9) == []
    assert wheel.due(101.0) == [one]
    assert wheel.due(200.0) == []
    assert one.slot == NOWHERE


def test_a_time_that_has_passed_is_the_next_tick():
    wheel, one = Wheel(100.0), Someone()
    wheel.at(one, 3.0)
    assert wheel.due(100.0) == []
    assert wheel.due(100.2) == [one]


def test_a_new_time_takes_the_place_of_the_old_one():
    wheel, one = Wheel(0.0), Someone()
    wheel.at(one, 1.0)
    wheel.at(one, 2.0)
    assert wheel.due(1.9) == []
    assert wheel.due(2.0) == [one]


def test_sooner_never_puts_off():
    wheel, one = Wheel(0.0), Someone()
    wheel.sooner(one, 5.0)
    wheel.sooner(one, 9.0)
    wheel.sooner(one, 4.0)
    assert wheel.due(3.9) == []
    assert wheel.due(4.0) == [one]


def test_who_was_cancelled_does_not_come():
    wheel, one, other = Wheel(0.0), Someone(), Someone()
    wheel.at(one, 1.0)
    wheel.at(other, 1.0)
    wheel.cancel(one)
    wheel.cancel(one)
    assert wheel.due(5.0) == [other]


def test_whoever_has_more_time_than_a_turn_is_called_at_its_end():
    wheel, one = Wheel(0.0), Someone()
    wheel.at(one, float("inf"))
    assert wheel.due(TURN_S - 2 * TICK_S) == []
    assert wheel.due(TURN_S) == [one]


def test_a_loop_that_stood_still_for_more_than_a_turn_loses_nobody():
    wheel = Wheel(0.0)
    everybody = [Someone() for _ in range(300)]
    for number, one in enumerate(everybody):
        wheel.at(one, number / 2)
    assert set(wheel.due(10 * TURN_S)) == set(everybody)
    wheel.at(everybody[0], 10 * TURN_S + 1)
    assert wheel.due(10 * TURN_S + 1) == [everybody[0]]


TIMES = one_of(floats(0, 3 * TURN_S), floats(0, 5))
STEPS = lists(tuples(sampled_from(["at", "sooner", "cancel", "wait"]), integers(0, 4), TIMES))


@given(STEPS)
def test_nobody_is_late_or_forgotten_or_early_but_by_a_whole_turn(
    steps: list[tuple[str, int, float]],
):
    wheel, now = Wheel(0.0), 0.0
    everybody = [Someone() for _ in range(5)]
    wanted: dict[Someone, float] = {}
    far: set[Someone] = set()  # those who may be called a turn after they were put in
    for kind, index, value in steps:
        one = everybody[index]
        if kind == "wait":
            now += value
            for due in wheel.due(now):
                assert wanted.pop(due) <= now + TICK_S or due in far
            assert all(when > now - 2 * TICK_S for when in wanted.values())
        elif kind == "cancel":
            wheel.cancel(one)
            wanted.pop(one, None)
        elif kind == "at" or one not in wanted:
            wheel.at(one, now + value)
            wanted[one] = now + value
            far.discard(one)
        else:
            wheel.sooner(one, now + value)
            wanted[one] = min(wanted[one], now + value)
        if value > TURN_S - 2 * TICK_S:
            far.add(one)
