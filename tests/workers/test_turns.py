"""Turns: who begins next, and that nothing is lost, doubled or held up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wait import wait_until
from workers.turns import AT_ONCE, AT_ONCE_OF_LARGE, Turns

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
    turns.add("busy", items("busy", 10_000))
    turns.add("bob", items("bob", 40))
    found = await begun(turns)
    last_of_bob = max(place for place, (author, _) in enumerate(found) if author == "bob")
    assert last_of_bob < 2 * AT_ONCE + 40


async def test_of_large_events_less_begins_in_a_round():
    turns: Turns[Item] = Turns()
    turns.add("celebrity", items("celebrity", 10 * AT_ONCE), is_large=True)
    turns.add("bob", items("bob", 10 * AT_ONCE))
    found = [author for author, _ in await begun(turns)]
    assert found[: AT_ONCE + AT_ONCE_OF_LARGE] == (
        ["celebrity"] * AT_ONCE_OF_LARGE + ["bob"] * AT_ONCE
    )
    assert found[-1] == "celebrity"


async def test_a_small_event_of_whoever_has_a_large_one_does_not_wait_for_it():
    turns: Turns[Item] = Turns()
    turns.add("celebrity", items("large", 1_000), is_large=True)
    turns.add("celebrity", items("small", 10))
    found = [name for name, _ in await begun(turns)]
    assert found[: AT_ONCE_OF_LARGE + 10] == ["large"] * AT_ONCE_OF_LARGE + ["small"] * 10


async def test_the_loop_gets_its_turn_as_well():
    turns: Turns[Item] = Turns()
    for author in range(20):
        turns.add(f"author-{author}", items(f"author-{author}", AT_ONCE))
    seen: list[int] = []
    found: list[Item] = []

    async def look() -> None:
        while len(found) < 20 * AT_ONCE:
            seen.append(len(found))
            await asyncio.sleep(0)

    async with running(turns, found.append):
        await look()
    assert max(after - before for before, after in pairwise(seen)) <= AT_ONCE


async def test_what_is_taken_back_does_not_begin():
    turns: Turns[Item] = Turns()
    turns.add("ann", items("ann", 6))
    turns.add("bob", items("bob", 3))
    odd = turns.take_back(lambda item: item[1] % 2 == 1 or item[0] == "bob")
    assert odd == [("ann", 1), ("ann", 3), ("ann", 5), *items("bob", 3)]
    assert await begun(turns) == [("ann", 0), ("ann", 2), ("ann", 4)]


async def test_what_fails_is_seen():
    turns: Turns[Item] = Turns()
    turns.add("ann", items("ann", AT_ONCE + 1))

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


ADDED = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(0, 100), st.booleans()), max_size=12
)


@given(ADDED)
def test_everything_begins_once_and_in_its_authors_order(added: list[tuple[str, int, bool]]):
    turns: Turns[Item] = Turns()
    expected: dict[str, list[Item]] = {}
    for number, (author, count, is_large) in enumerate(added):
        name = f"{author} {is_large}"
        some = items(name, count, number * 1_000)
        turns.add(author, some, is_large=is_large)
        expected.setdefault(name, []).extend(some)
    found = asyncio.run(begun(turns)) if len(turns) else []
    for author, of_author in expected.items():
        assert [item for item in found if item[0] == author] == of_author
    assert len(found) == sum(map(len, expected.values()))
