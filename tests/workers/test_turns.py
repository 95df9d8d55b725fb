"""Turns: who begins next, and that nothing is lost, doubled or held up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wait import wait_until
from workers.turns import AT_ONCE, FIRST, FIRST_UP_TO, THEN, Turns

Item = tuple[str, int]


def items(author: str, count: int, first: int = 0) -> list[Item]:
    return [(author, number) for number in range(first, first + count)]


@asynccontextmanager
async def running(turns: Turns[Item], begin: Callable[[Item], None]) -> AsyncIterator[None]:
    run = asyncio.create_task(turns.run(begin))
    try:
        yield
        assert not run.done()
    finally:
        run.cancel()


async def begun(turns: Turns[Item]) -> list[Item]:
    """All that there is, in the order in which it begins."""
    count, found = len(turns), []
    async with running(turns, found.append):
        await wait_until(lambda: len(found) >= count)
    return found


async def test_an_authors_own_begin_in_their_order():
    turns: Turns[Item] = Turns()
    for first in range(0, 1_000, 100):
        turns.add("ann", items("ann", 100, first))
    assert await begun(turns) == items("ann", 1_000)
    assert len(turns) == 0


async def test_a_few_do_not_wait_for_many_that_came_before():
    turns: Turns[Item] = Turns()
    turns.add("celebrity", items("celebrity", 10_000))
    turns.add("bob", items("bob", 40))
    found = await begun(turns)
    last_of_bob = max(place for place, (author, _) in enumerate(found) if author == "bob")
    assert last_of_bob < 2 * FIRST + 40


async def test_one_author_gets_more_at_first_than_later_in_a_round():
    turns: Turns[Item] = Turns()
    for author in ("ann", "bob"):
        turns.add(author, items(author, FIRST_UP_TO + 10 * THEN))
    found = [author for author, _ in await begun(turns)]
    assert found[: 2 * FIRST] == ["ann"] * FIRST + ["bob"] * FIRST
    assert found[-2 * THEN :] == ["ann"] * THEN + ["bob"] * THEN


async def test_the_loop_gets_its_turn_as_well():
    turns: Turns[Item] = Turns()
    for author in range(20):
        turns.add(f"author-{author}", items(f"author-{author}", FIRST))
    seen: list[int] = []
    found: list[Item] = []

    async def look() -> None:
        while len(found) < 20 * FIRST:
            seen.append(len(found))
            await asyncio.sleep(0)

    async with running(turns, found.append):
        await look()
    assert max(after - before for before, after in pairwise(seen)) <= AT_ONCE


async def test_who_comes_back_after_all_had_begun_is_new_again():
    turns: Turns[Item] = Turns()
    turns.add("ann", items("ann", FIRST_UP_TO + THEN))
    await begun(turns)
    turns.add("ann", items("ann", FIRST))
    turns.add("bob", items("bob", 1))
    assert [author for author, _ in await begun(turns)] == ["ann"] * FIRST + ["bob"]


async def test_what_is_taken_back_does_not_begin():
    turns: Turns[Item] = Turns()
    turns.add("ann", items("ann", 6))
    turns.add("bob", items("bob", 3))
    odd = turns.take_back(lambda item: item[1] % 2 == 1 or item[0] == "bob")
    assert odd == [("ann", 1), ("ann", 3), ("ann", 5), *items("bob", 3)]
    assert await begun(turns) == [("ann", 0), ("ann", 2), ("ann", 4)]


async def test_what_fails_is_seen():
    turns: Turns[Item] = Turns()
    turns.add("ann", items("ann", FIRST + 1))

    def begin(item: Item) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await turns.run(begin)
    assert len(turns) == 1


async def test_items_that_are_put_in_while_others_begin_begin_too():
    turns: Turns[Item] = Turns()
    turns.add("ann", items("ann", 1))
    found: list[Item] = []

    def begin(item: Item) -> None:
        found.append(item)
        author, number = item
        if number < 50:
            turns.add(author, [(author, number + 1)])

    async with running(turns, begin):
        await wait_until(lambda: len(found) == 51)
    assert found == items("ann", 51)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 300)), max_size=12))
def test_everything_begins_once_and_in_its_authors_order(added: list[tuple[str, int]]):
    turns: Turns[Item] = Turns()
    expected: dict[str, list[Item]] = {}
    for number, (author, count) in enumerate(added):
        some = items(author, count, number * 1_000)
        turns.add(author, some)
        expected.setdefault(author, []).extend(some)
    found = asyncio.run(begun(turns)) if len(turns) else []
    for author, of_author in expected.items():
        assert [item for item in found if item[0] == author] == of_author
    assert len(found) == sum(map(len, expected.values()))
