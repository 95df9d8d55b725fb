"""Loads, and what plays are found to have cost."""

import pytest

from scripts.bench.plays import Load, Play, Spent, by_process, middle, spent, take_turns


def test_posts_of_a_load_are_spread_over_its_time():
    assert Load(4, 2.0).arrivals_us() == [0, 500_000, 1_000_000, 1_500_000]


def test_posts_of_a_load_without_a_time_come_at_once():
    assert Load(3).arrivals_us() == [0, 0, 0]


def test_authors_take_turns():
    assert Load(5).authors(2) == [0, 1, 0, 1, 0]


def test_what_is_spent_is_told_for_each_delivery():
    cost = spent({"api": 1.0, "store": 2.0}, {"api": 1.002, "store": 2.001}, 1_000)
    assert cost.us == pytest.approx({"api": 2.0, "store": 1.0})
    assert cost.total_us() == pytest.approx(3.0)
    assert cost.total_us(without="api") == pytest.approx(1.0)


class Fake:
    def __init__(self, name: str, played: list[str]) -> None:
        self.name = name
        self._played = played

    async def play(self, load: Load) -> Spent:
        self._played.append(self.name)
        return Spent(load.posts, {"store": float(len(self._played))})


async def test_systems_take_turns_and_the_middle_of_the_rounds_counts():
    played: list[str] = []
    plays = [Play("row", Fake(name, played), Load(1)) for name in ("ours", "theirs")]
    found = await take_turns(plays, rounds=3)
    assert played == ["ours", "theirs"] * 3
    assert middle(found["row", "ours"]) == 3.0
    assert middle(found["row", "theirs"]) == 4.0
    assert "row, ours: store 3.00; all of them 1.00 to 5.00" in by_process(found)
