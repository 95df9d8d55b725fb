"""What is planned: by seed, within the time, everything often enough."""

import random
from collections import Counter
from itertools import pairwise

import pytest

from scripts.chaos.plan import CALM_S, COUNTS, Act, Blow, Role, Terms, make_plan

TERMS = Terms(seconds=180.0, lease_s=2.0, away_s=20.0)
SEEDS = range(1, 21)


def plan(seed: int, terms: Terms = TERMS) -> list[Blow]:
    return make_plan(random.Random(seed), terms)


def test_the_same_seed_makes_the_same_plan_and_another_another() -> None:
    assert plan(1) == plan(1)
    assert plan(1) != plan(2)


@pytest.mark.parametrize("seed", SEEDS)
def test_everything_is_done_to_everybody(seed: int) -> None:
    counts = Counter((blow.role, blow.act) for blow in plan(seed))
    for role in (Role.API, Role.GATEWAY, Role.FANOUT, Role.SENDER, Role.STORE):
        for act in (Act.KILL, Act.STOP, Act.TERM):
            assert counts[role, act] >= 1, (role, act)
    assert counts[Role.JANITOR, Act.KILL] >= 1
    assert counts[Role.STORE, Act.AWAY] == 1
    assert counts.total() > 50


@pytest.mark.parametrize("seed", SEEDS)
def test_it_keeps_to_its_time_and_hits_nobody_who_is_down(seed: int) -> None:
    blows = plan(seed)
    assert blows == sorted(blows, key=lambda blow: blow.at_s)
    for name in {blow.name for blow in blows}:
        for before, after in pairwise([blow for blow in blows if blow.name == name]):
            assert before.until_s <= after.at_s
    for blow in blows:
        assert 0 < blow.at_s <= blow.until_s <= TERMS.seconds - CALM_S
        if blow.act is Act.STOP:
            assert blow.hold_s > TERMS.lease_s


@pytest.mark.parametrize("seed", SEEDS)
def test_two_workers_come_and_go(seed: int) -> None:
    for role in (Role.FANOUT, Role.SENDER):
        name = f"{role}-{COUNTS[role] + 1}"
        acts = [blow.act for blow in plan(seed) if blow.name == name]
        assert acts == [Act.ADD, Act.REMOVE]


def test_a_store_that_is_never_away_is_left_alone_when_nothing_may_be_done_to_it() -> None:
    blows = plan(1, Terms(seconds=60.0, lease_s=2.0, away_s=0.0, store=()))
    assert not any(blow.role is Role.STORE for blow in blows)
