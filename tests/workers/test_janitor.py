"""Clearing up: what is too old, and gateways that died without a word."""

import asyncio
from typing import Any

import pytest

from app.store import keys
from app.store.nodes import Node
from tests.wait import wait_until
from tests.workers.faulty import FaultyStore
from tests.workers.rig import SHARDS, Rig, users_of
from workers.janitor import NODE_KEPT_S, NODE_LIFE_S, SEARCH_EVERY_S, JanitorShard, JanitorStats

NOW_MS = 1_800_000_000_000
DEAD_MS = NOW_MS - round(NODE_LIFE_S * 1000) - 1


def janitor(store: Any, shard: int = 1, **options: Any) -> JanitorShard:
    return JanitorShard(store, shard=shard, retention_s=60, stats=JanitorStats(), **options)


async def routes(rig: Rig) -> dict[str, str]:
    found: dict[str, str] = {}
    for shard in range(SHARDS):
        flat = await rig.store.execute("HGETALL", keys.routes(shard))
        found |= {
            user.decode(): route.decode()
            for user, route in zip(flat[0::2], flat[1::2], strict=True)
        }
    return found


async def join(rig: Rig, node: str, users: list[str], seen_ms: int) -> None:
    await Node(rig.store, SHARDS, node).join(users)
    await rig.store.execute("ZADD", keys.NODES, seen_ms, node)


async def test_dead_letters_go_when_their_retention_is_over_however_many(single_rig: Rig):
    rig = single_rig
    letters = [(NOW_MS - 60_001, f"old{n}") for n in range(1_200)]
    letters += [(NOW_MS - 60_000, "young"), (NOW_MS, "new")]
    for score, name in letters:
        await rig.store.execute("ZADD", keys.dead(1), score, name)
    work = janitor(rig.store)
    await work.tidy(NOW_MS)
    left = await rig.store.execute("ZRANGE", keys.dead(1), 0, -1)
    assert left == [b"young", b"new"]
    assert work._stats.dead_expired == 1_200


async def test_a_dead_gateway_is_taken_out_of_every_route_and_a_living_one_stays(rig: Rig):
    users = [user for shard in range(SHARDS) for user in users_of(shard, 3)]
    await join(rig, "dead", users, DEAD_MS)
    await join(rig, "alive", users[::2], NOW_MS)
    endpoint = await rig.register(users[0], "https://example.com/")
    for shard in range(SHARDS):
        await janitor(rig.store, shard).tidy(NOW_MS)
    left = await routes(rig)
    assert left.pop(users[0]) == f"@alive {endpoint.id}"
    assert left == dict.fromkeys(users[2::2], "@alive")


async def test_what_waits_is_told_by_the_janitor_that_holds_the_shard(single_rig: Rig):
    stats = JanitorStats()
    jobs = [
        JanitorShard(single_rig.store, shard=shard, retention_s=60, stats=stats) for shard in (0, 1)
    ]
    (ann,) = users_of(1, 1)
    await single_rig.post(ann)
    runs = [asyncio.create_task(job.run()) for job in jobs]
    seen = stats.backlogs
    await wait_until(lambda: seen.shards.keys() == {0, 1})
    assert seen.entries()[("queue", "posts"), ("shard", "1")] == 1
    assert seen.entries()[("queue", "posts"), ("shard", "0")] == 0
    assert seen.oldest_s()[("queue", "posts"), ("shard", "1")] >= 0
    assert seen.unowned()[("role", "fanout"), ("shard", "1")] == 1
    assert len(seen.memory()) == len(seen.memory_max()) == 1
    jobs[1].stop()
    await runs[1]
    assert {labels[1] for labels in seen.entries()} == {("shard", "0")}
    jobs[0].stop()
    await runs[0]
    assert seen.memory() == seen.entries() == {}


async def test_a_gateway_that_no_list_names_any_more_is_found_in_the_routes(single_rig: Rig):
    rig = single_rig
    (user,) = users_of(1, 1)
    await Node(rig.store, SHARDS, "forgotten").join([user])
    work = janitor(rig.store)
    await work.tidy(NOW_MS)
    assert await routes(rig) == {}
    # Looking through all of them costs: it is done now and then.
    await Node(rig.store, SHARDS, "another").join([user])
    await work.tidy(NOW_MS + 1_000)
    assert await routes(rig) == {user: "@another"}
    await work.tidy(NOW_MS + round(SEARCH_EVERY_S * 1000))
    assert await routes(rig) == {}


async def test_a_gateway_that_joins_while_routes_are_looked_through_is_left_alone(
    single_rig: Rig,
):
    """It says that it lives before it stands in a route: whoever asks afterwards hears of it."""
    rig, store = single_rig, FaultyStore(single_rig.store)
    (user,) = users_of(1, 1)
    gate = store.hold("HSCAN")
    tidying = asyncio.create_task(janitor(store).tidy(NOW_MS))
    await wait_until(lambda: "HSCAN" in store.calls)
    await join(rig, "new", [user], NOW_MS)
    gate.set()
    await tidying
    assert await routes(rig) == {user: "@new"}


async def test_routes_are_looked_through_once_for_a_dead_gateway_not_at_every_pass(
    single_rig: Rig,
):
    rig, store = single_rig, FaultyStore(single_rig.store)
    await join(rig, "dead", users_of(1, 1), DEAD_MS)
    work = janitor(store)
    await work.tidy(NOW_MS)
    scans = store.calls.count("HSCAN")
    await work.tidy(NOW_MS)
    assert store.calls.count("HSCAN") == scans
    assert await rig.store.execute("ZSCORE", keys.NODES, "dead") is not None
    await work.tidy(DEAD_MS + round(NODE_KEPT_S * 1000))
    assert await rig.store.execute("ZSCORE", keys.NODES, "dead") is None


async def test_a_gateway_that_comes_back_and_dies_again_is_cleared_again(single_rig: Rig):
    rig = single_rig
    users = users_of(1, 2)
    work = janitor(rig.store)
    for _ in range(2):
        await join(rig, "flaky", users, DEAD_MS)
        await work.tidy(NOW_MS)
        assert await routes(rig) == {}
        await join(rig, "flaky", users, NOW_MS)
        await work.tidy(NOW_MS)
        assert len(await routes(rig)) == 2


@pytest.mark.parametrize("word", ["ZRANGE", "ZRANGEBYSCORE", "HSCAN", "leave_node"])
async def test_what_fails_is_done_again_in_the_next_pass(single_rig: Rig, word: str):
    rig, store = single_rig, FaultyStore(single_rig.store)
    users = users_of(1, 3)
    await join(rig, "dead", users, 1)
    fault = store.fail(word)
    work = janitor(store, period_s=0.01)
    run = asyncio.create_task(work.run())
    await wait_until(lambda: _is_clear(rig))
    work.stop()
    await run
    assert fault.hits == 1
    assert work._stats.failures == 1


async def _is_clear(rig: Rig) -> bool:
    return await routes(rig) == {}
