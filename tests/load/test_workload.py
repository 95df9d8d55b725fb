"""People, circles and groups, as they are drawn."""

import random
from collections import Counter
from functools import cache
from statistics import median

import pytest

from scripts.load.groups import ALL_SOCKETS, REAL, WITH_HANGING, WITH_RELAY, Group
from scripts.load.workload import (
    BIG,
    FRIENDS_MAX,
    FULL,
    LIGHT,
    PROBE_FRIENDS,
    SIZED,
    Circles,
    Workload,
    draw_workload,
)


@cache
def drawn(people: int = 10_000, circles: Circles = FULL, seed: int = 1) -> Workload:
    return draw_workload(
        random.Random(seed), people=people, circles=circles, presence=REAL, prefix="t-"
    )


def sizes(workload: Workload) -> list[int]:
    return [len(author.friends) for author in workload.authors[: workload.ordinary]]


@pytest.mark.parametrize(("circles", "middle"), [(FULL, 178), (LIGHT, 99)])
def test_circles_have_the_median_they_were_measured_with(circles: Circles, middle: int):
    found = [size for seed in range(3) for size in sizes(drawn(circles=circles, seed=seed))]
    assert median(found) == pytest.approx(middle, rel=0.1)
    assert max(found) <= FRIENDS_MAX


def test_a_post_has_about_as_many_recipients_as_the_mean_of_the_circles():
    means = [drawn(seed=seed).audience_mean for seed in range(3)]
    assert sum(means) / len(means) == pytest.approx(276 + 0.0009 * 5_000 + 1, rel=0.1)


def test_everybody_is_somebodys_friend_only_once():
    for author in drawn(people=400).authors:
        assert len(set(author.friends)) == len(author.friends)
        assert max(author.friends) < 400


def test_the_biggest_authors_have_their_share_of_posts_and_no_more():
    workload = drawn()
    found = workload.authors[workload.ordinary : workload.ordinary + len(BIG)]
    assert [(len(author.friends), author.weight) for author in found] == list(BIG)
    assert len(workload.authors[workload.celebrity].friends) == 10_000
    assert sum(author.weight for author in workload.authors) == pytest.approx(1)


def test_the_biggest_authors_are_scaled_down_with_the_people_and_that_is_said():
    workload = drawn(people=1_000)
    assert len(workload.authors[workload.celebrity].friends) == 1_000
    assert len(workload.authors[workload.ordinary].friends) == 500
    assert workload.describe()["scaled_down"] is True
    assert drawn().describe()["scaled_down"] is False


@pytest.mark.parametrize("size", list(SIZED))
def test_sized_authors_have_just_so_many_friends_and_post_on_order_only(size: int):
    workload = drawn()
    found = [workload.authors[number] for number in workload.sized(size)]
    assert [len(author.friends) for author in found] == [size] * SIZED[size]
    assert {author.weight for author in found} == {0.0}
    draws = random.Random(7)
    chosen = Counter(workload.draw_author(draws) for _ in range(5_000))
    assert not set(chosen) & set(workload.sized(size))


def test_there_are_no_authors_of_other_sizes():
    with pytest.raises(ValueError, match="exactly 11 friends"):
        drawn().sized(11)


def test_probes_have_a_hundred_friends():
    assert drawn().probes == drawn().sized(PROBE_FRIENDS)


def test_authors_post_by_their_weight():
    workload = drawn(people=40)
    draws = random.Random(3)
    chosen = Counter(workload.draw_author(draws) for _ in range(20_000))
    assert set(range(workload.ordinary)) <= set(chosen)
    assert chosen[workload.ordinary] + chosen[workload.celebrity] < 100  # a thousandth of all


@pytest.mark.parametrize("presence", [REAL, WITH_HANGING, WITH_RELAY, ALL_SOCKETS])
def test_every_group_has_its_share_of_the_people(presence):
    assert sum(presence.values()) == pytest.approx(1)
    workload = draw_workload(
        random.Random(1), people=1_000, circles=FULL, presence=presence, prefix="t-"
    )
    expected = {group: round(1_000 * share) for group, share in presence.items()}
    assert Counter(workload.groups) == expected


def test_one_host_owns_a_fifth_of_the_webhooks():
    webhooks = sum(share for group, share in REAL.items() if group is not Group.SOCKET)
    assert REAL[Group.RELAY] / webhooks == pytest.approx(0.2)


@pytest.mark.parametrize("people", [4, 7, 33, 100])
def test_even_few_people_are_all_in_a_group(people: int):
    workload = drawn(people=people)
    assert len(workload.groups) == len(workload.people) == people


def test_an_audience_is_counted_by_group():
    workload = drawn(people=50)
    author = workload.authors[3]
    assert workload.audience(3) == Counter(workload.groups[number] for number in author.friends)
    assert workload.audience(3).total() == len(author.friends)
    assert set(workload.members(*Group)) == set(range(50))


def test_the_same_seed_draws_the_same():
    assert drawn(people=200, seed=5) == drawn.__wrapped__(people=200, seed=5)
    assert drawn(people=200, seed=5) != drawn(people=200, seed=6)
