"""One schedule for all owners of a shard, whatever their wall clocks do."""

import pytest

from app import clock
from app.clock import now_ms, steady_ms
from app.errors import LeaseLost
from app.store import keys
from app.store.client import Store
from tests.clock import SettableClock, settable
from workers.schedule import Schedule

HOUR_MS = 3_600_000
NEAR_MS = 500  # between two looks at a clock that runs


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> SettableClock:
    return settable(monkeypatch)


async def begun(store: Store, token: bytes = b"one") -> Schedule:
    await store.execute("SET", keys.lease(1, keys.SENDER), token)
    schedule = Schedule(store, 1, token)
    await schedule.begin()
    return schedule


def is_near(value: float, expected: float) -> bool:
    return abs(value - expected) < NEAR_MS


async def test_as_long_as_nobody_sets_a_clock_all_are_the_same(store: Store):
    schedule = await begun(store)
    await schedule.keep()
    for time in (schedule.to_store(5_000), schedule.from_store(5_000), schedule.to_wall(5_000)):
        assert is_near(time, 5_000)
    assert await store.execute("EXISTS", keys.shift(1)) == 0


@pytest.mark.parametrize("by_ms", [HOUR_MS, -HOUR_MS, 1_500])
async def test_a_clock_that_is_set_moves_what_is_shown_and_nothing_else(
    single_store: Store, wall: SettableClock, by_ms: int
):
    schedule = await begun(single_store)
    due_ms = steady_ms() + 10_000
    stored_ms = schedule.to_store(due_ms)
    wall.set_by(by_ms / 1000)
    await schedule.keep()
    assert is_near(schedule.from_store(stored_ms) - steady_ms(), 10_000)
    assert is_near(schedule.to_wall(due_ms) - now_ms(), 10_000)
    assert is_near(int(await single_store.execute("GET", keys.shift(1))), by_ms)


async def test_the_next_owner_goes_on_where_the_last_one_was(
    single_store: Store, wall: SettableClock, monkeypatch: pytest.MonkeyPatch
):
    one = await begun(single_store)
    stored_ms = one.to_store(steady_ms() + 10_000)
    wall.set_by(HOUR_MS / 1000)
    await one.keep()
    wall.restart(monkeypatch)
    assert is_near(steady_ms(), now_ms())
    other = await begun(single_store, b"two")
    assert is_near(other.from_store(stored_ms) - steady_ms(), 10_000)
    assert is_near(other.to_wall(steady_ms()), now_ms())
    await other.keep()
    assert is_near(int(await single_store.execute("GET", keys.shift(1))), HOUR_MS)


async def test_small_steps_count_from_the_first_and_are_noted_when_they_come_to_something(
    single_store: Store, wall: SettableClock
):
    schedule = await begun(single_store)
    for _ in range(2):
        wall.set_by(0.7)
        await schedule.keep()
    assert is_near(int(await single_store.execute("GET", keys.shift(1))), 1_400)


async def test_time_that_passes_is_no_set_clock(single_store: Store, wall: SettableClock):
    schedule = await begun(single_store)
    wall.let_pass(HOUR_MS)
    await schedule.keep()
    assert await single_store.execute("EXISTS", keys.shift(1)) == 0


async def test_whoever_has_lost_the_lease_notes_nothing(single_store: Store, wall: SettableClock):
    former = await begun(single_store)
    await begun(single_store, b"two")
    wall.set_by(60)
    with pytest.raises(LeaseLost):
        await former.keep()
    assert await single_store.execute("EXISTS", keys.shift(1)) == 0


def test_the_steady_clock_counts_from_what_the_wall_clock_said_at_the_start():
    assert is_near(clock.steady_ms(), clock.now_ms())
