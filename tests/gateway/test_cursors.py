import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import pytest

from app.errors import StoreUnavailable
from app.gateway.cursors import USERS_MAX, Cursors
from app.gateway.stats import Stats
from tests.wait import wait_until


class Store:
    """Notes what is written; fails as long as it is told to."""

    def __init__(self) -> None:
        self.calls: list[dict[str, int]] = []
        self.repushes: list[dict[str, tuple[int, int]]] = []
        self.is_away = False
        self.gate: asyncio.Event | None = None  # calls wait for it

    async def advance(self, cursors: Mapping[str, int]) -> dict[str, int]:
        if self.gate is not None:
            await self.gate.wait()
        if self.is_away:
            raise StoreUnavailable("away")
        self.calls.append(dict(cursors))
        return dict(cursors)

    async def note_repushes(self, counts: Mapping[str, tuple[int, int]]) -> None:
        if self.is_away:
            raise StoreUnavailable("away")
        self.repushes.append(dict(counts))


@asynccontextmanager
async def running(cursors: Cursors) -> AsyncIterator[None]:
    task = asyncio.create_task(cursors.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_of_many_acknowledgements_of_a_user_the_highest_is_written_once():
    store = Store()
    cursors = Cursors(store, Stats())
    async with running(cursors):
        for offset in (3, 9, 4):
            cursors.advance("bob", offset)
        cursors.advance("eve", 1)
        await wait_until(lambda: store.calls)
    assert store.calls == [{"bob": 9, "eve": 1}]


async def test_what_comes_while_a_batch_is_written_is_in_the_next():
    store = Store()
    store.gate = asyncio.Event()
    cursors = Cursors(store, Stats())
    async with running(cursors):
        cursors.advance("bob", 1)
        await wait_until(lambda: not cursors._offsets)
        cursors.advance("bob", 2)
        store.gate.set()
        await wait_until(lambda: len(store.calls) == 2)
    assert store.calls == [{"bob": 1}, {"bob": 2}]


async def test_a_call_has_a_bound():
    store = Store()
    cursors = Cursors(store, Stats())
    for number in range(USERS_MAX + 1):
        cursors.advance(f"user{number}", 1)
    await cursors.settle()
    assert [len(call) for call in store.calls] == [USERS_MAX, 1]


async def test_a_store_that_is_away_loses_nothing():
    store, stats = Store(), Stats()
    store.is_away = True
    cursors = Cursors(store, stats)
    async with running(cursors):
        cursors.advance("bob", 1)
        cursors.repushed("eve", 4, 2)
        await wait_until(lambda: stats.store_failures)
        cursors.advance("bob", 3)
        cursors.repushed("eve", 4, 3)
        store.is_away = False
        await wait_until(lambda: store.repushes)
    assert store.calls == [{"bob": 3}]
    assert store.repushes == [{"eve": (4, 3)}]


async def test_settling_that_is_given_up_can_be_done_again():
    store = Store()
    store.gate = asyncio.Event()
    cursors = Cursors(store, Stats())
    cursors.advance("bob", 5)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await cursors.settle()
    store.gate.set()
    await cursors.settle()
    await cursors.settle()
    assert store.calls == [{"bob": 5}]


async def test_only_new_repushes_are_noted():
    store = Store()
    cursors = Cursors(store, Stats())
    async with running(cursors):
        cursors.repushed("bob", 7, 2)
        await wait_until(lambda: len(store.repushes) == 1)
        cursors.repushed("bob", 7, 3)
        await wait_until(lambda: len(store.repushes) == 2)
    assert store.repushes == [{"bob": (7, 2)}, {"bob": (7, 3)}]
    assert store.calls == []
