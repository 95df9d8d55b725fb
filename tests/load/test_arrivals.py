"""Times and kinds of posts, drawn beforehand."""

import random
from collections import Counter
from itertools import pairwise

import pytest

from scripts.load.arrivals import (
    MIX,
    Kind,
    Stream,
    amounting_to,
    draw,
    evenly,
    every,
    everyday,
    probes,
)
from scripts.load.groups import REAL
from scripts.load.workload import FULL, draw_workload

WORKLOAD = draw_workload(random.Random(1), people=500, circles=FULL, presence=REAL, prefix="t-")


def test_the_everyday_mix_makes_the_deliveries_asked_for():
    arrivals = draw(random.Random(2), WORKLOAD, [everyday(WORKLOAD, 20_000)], 40)
    made = sum(len(WORKLOAD.authors[one.author].friends) for one in arrivals)
    assert made == pytest.approx(20_000 * 40, rel=0.1)


def test_a_post_comes_with_six_likes_and_two_comments():
    arrivals = draw(random.Random(2), WORKLOAD, [everyday(WORKLOAD, 20_000)], 40)
    counts = Counter(one.kind for one in arrivals)
    assert set(counts) == set(MIX)
    for kind, weight in MIX.items():
        assert counts[kind] / len(arrivals) == pytest.approx(weight / 9, rel=0.2)


def test_times_are_in_order_within_the_phase_and_as_irregular_as_chance():
    arrivals = draw(random.Random(3), WORKLOAD, [Stream(200.0, [Kind.POST])], 50)
    times = [one.at_us for one in arrivals]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] < 50_000_000
    gaps = [b - a for a, b in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(5_000, rel=0.1)
    assert spread == pytest.approx(mean, rel=0.15)  # exponential: both are the same


def test_streams_are_merged_and_each_has_its_own_authors():
    arrivals = draw(
        random.Random(4), WORKLOAD, [everyday(WORKLOAD, 5_000), probes(WORKLOAD, 20)], 10
    )
    assert [one.at_us for one in arrivals] == sorted(one.at_us for one in arrivals)
    by_probes = [one for one in arrivals if one.kind is Kind.PROBE]
    assert len(by_probes) == pytest.approx(200, rel=0.3)
    assert {one.author for one in by_probes} <= set(WORKLOAD.probes)
    others = {one.author for one in arrivals if one.kind is not Kind.PROBE}
    assert not others & set(WORKLOAD.probes)


def test_nothing_is_drawn_at_a_rate_of_zero():
    assert draw(random.Random(5), WORKLOAD, [everyday(WORKLOAD, 0)], 10) == []


def test_posts_to_all_are_evenly_spaced_from_the_beginning_on():
    found = every(WORKLOAD, 2.5, 10)
    assert [one.at_us for one in found] == [0, 2_500_000, 5_000_000, 7_500_000]
    assert {one.author for one in found} == {WORKLOAD.celebrity}


@pytest.mark.parametrize("deliveries", [1, 5_000, 50_000])
def test_posts_can_be_drawn_to_amount_to_so_many_deliveries(deliveries: int):
    arrivals = amounting_to(random.Random(8), WORKLOAD, deliveries, 10)
    sizes = [len(WORKLOAD.authors[one.author].friends) for one in arrivals]
    assert sum(sizes) >= deliveries > sum(sizes[:-1])
    assert arrivals[0].at_us == 0
    assert arrivals[-1].at_us < 10_000_000


def test_authors_can_post_in_turn_evenly_spaced():
    arrivals = evenly([7, 8, 9], 4, 2)
    assert [(one.at_us, one.author) for one in arrivals] == [
        *((0, 7), (500_000, 8), (1_000_000, 9), (1_500_000, 7))
    ]


def test_the_same_seed_draws_the_same_posts():
    streams = [everyday(WORKLOAD, 1_000)]
    assert draw(random.Random(6), WORKLOAD, streams, 5) == draw(
        random.Random(6), WORKLOAD, streams, 5
    )
