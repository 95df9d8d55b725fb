"""Leases: one owner at a time, kept by renewing, found free when they run out."""

import pytest

from app.errors import CommandRejected, StoreFull
from app.store import keys
from app.store.client import Store
from app.store.leases import Leases, Slot
from tests.store.service import NOW_MS, SHARDS
from tests.wait import wait_until

SLOTS = [Slot(keys.SENDER, shard) for shard in range(SHARDS)]


def two(store: Store, life_s: float = 10.0) -> tuple[Leases, Leases]:
    return Leases(store, "one", life_s=life_s), Leases(store, "two", life_s=life_s)


async def test_a_lease_has_one_owner_and_free_ones_are_taken(store: Store) -> None:
    one, two_ = two(store)
    assert await one.acquire(SLOTS[:2]) == SLOTS[:2]
    assert await two_.acquire(SLOTS) == SLOTS[2:]
    assert await one.acquire(SLOTS[2:]) == []
    assert await one.acquire([]) == []


async def test_roles_of_a_shard_are_leased_apart(store: Store) -> None:
    one, two_ = two(store)
    slots = [Slot(role, 1) for role in (keys.FANOUT, keys.SENDER, keys.JANITOR)]
    assert await one.acquire(slots[:1]) == slots[:1]
    assert await two_.acquire(slots) == slots[1:]


async def test_taking_again_what_is_ours_because_the_answer_was_lost_renews_it(
    store: Store,
) -> None:
    one, two_ = two(store)
    await one.acquire(SLOTS[:1])
    await store.execute("PEXPIRE", SLOTS[0].key, 500)
    assert await one.acquire(SLOTS[:1]) == SLOTS[:1]
    assert await store.execute("PTTL", SLOTS[0].key) > 9_000
    assert await two_.acquire(SLOTS[:1]) == []


async def test_a_lease_that_is_not_renewed_runs_out(store: Store) -> None:
    one, two_ = two(store, life_s=1.0)
    await one.acquire(SLOTS[:1])

    async def taken() -> bool:
        return await two_.acquire(SLOTS[:1]) == SLOTS[:1]

    await wait_until(taken)
    assert await one.renew(SLOTS[:1]) == {SLOTS[0]: False}
    await one.release(SLOTS[:1])
    assert await two_.renew(SLOTS[:1]) == {SLOTS[0]: True}


async def test_renewing_prolongs_only_what_is_ours(store: Store) -> None:
    one, two_ = two(store)
    await one.acquire(SLOTS[:2])
    await two_.acquire(SLOTS[2:3])
    for slot in SLOTS[:3]:
        await store.execute("PEXPIRE", slot.key, 500)
    expected = {slot: slot in SLOTS[:2] for slot in SLOTS}
    assert await one.renew(SLOTS) == expected
    ttls_ms = [await store.execute("PTTL", slot.key) for slot in SLOTS]
    assert [ttl > 9_000 for ttl in ttls_ms] == [True, True, False, False]


async def test_what_is_given_back_is_free_at_once(store: Store) -> None:
    one, two_ = two(store)
    await one.acquire(SLOTS)
    await one.release(SLOTS[:2])
    assert await two_.acquire(SLOTS) == SLOTS[:2]


async def test_two_workers_of_one_name_are_two(store: Store) -> None:
    one, twin = (Leases(store, "one", life_s=10) for _ in range(2))
    await one.acquire(SLOTS[:1])
    assert await twin.acquire(SLOTS[:1]) == []
    assert await twin.renew(SLOTS[:1]) == {SLOTS[0]: False}


async def test_one_lease_that_cannot_be_asked_for_does_not_cost_the_others(
    store: Store,
) -> None:
    one, _ = two(store)
    await store.execute("RPUSH", SLOTS[1].key, "not a lease")
    others = [slot for slot in SLOTS if slot != SLOTS[1]]
    assert await one.acquire(SLOTS) == others
    assert await one.renew(SLOTS) == dict.fromkeys(others, True)
    with pytest.raises(CommandRejected):
        await one.renew(SLOTS[1:2])


async def test_leases_are_taken_in_a_full_store_too(single_store: Store) -> None:
    one, _ = two(single_store)
    await single_store.execute("SET", "ballast", "x" * 1_000_000)
    await single_store.broadcast("CONFIG", "SET", "maxmemory", 1_000_000)
    try:
        with pytest.raises(StoreFull):
            await single_store.execute("SET", "more", "x")
        assert await one.acquire(SLOTS[:1]) == SLOTS[:1]
        assert await one.renew(SLOTS[:1]) == {SLOTS[0]: True}
    finally:
        await single_store.broadcast("CONFIG", "SET", "maxmemory", 0)


async def test_live_workers_of_a_role_are_counted(store: Store) -> None:
    one, two_ = two(store)
    assert await one.beat(keys.SENDER, NOW_MS) == 1
    assert await one.beat(keys.FANOUT, NOW_MS) == 1
    assert await two_.beat(keys.SENDER, NOW_MS + 1) == 2
    assert await one.beat(keys.SENDER, NOW_MS + 2) == 2
    await two_.leave([keys.SENDER, keys.FANOUT])
    assert await one.beat(keys.SENDER, NOW_MS + 3) == 1


@pytest.mark.parametrize("away_ms", [10_001, -10_001])
async def test_a_worker_not_heard_of_for_a_lifes_time_or_from_the_future_does_not_count(
    store: Store, away_ms: int
) -> None:
    one, two_ = two(store)
    await two_.beat(keys.SENDER, NOW_MS)
    assert await one.beat(keys.SENDER, NOW_MS + away_ms) == 1
    assert await store.execute("ZRANGE", keys.WORKERS, 0, -1) == [b"sender:one"]
