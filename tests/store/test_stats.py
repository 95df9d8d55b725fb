"""Statistics are lengths and kept counters, right whatever happened, read in one round trip."""

from app.domain.delivery import State
from app.store import keys
from app.store.challenges import Settled, settle
from app.store.client import Store
from app.store.leases import Leases, Slot
from app.store.stats import read_stats
from tests.store.service import NOW_MS, SHARDS, Result, Sender, Service, fan_out, users_of

NOTHING = {"posts": 0, "deliveries": 0, "redeliveries": 0, "retries": 0, "dead": 0}


async def test_an_empty_store_has_nothing_to_tell(store: Store) -> None:
    stats = await read_stats(store, SHARDS)
    assert stats["queues"] == NOTHING
    assert stats["queues_by_shard"] == [NOTHING] * SHARDS
    assert stats["endpoints"] == {"active": 0, "open": 0, "disabled": 0, "unverified": 0}
    assert stats["nodes"] == stats["workers"] == []
    assert {lease["holder"] for lease in stats["leases"]} == {None}
    assert {(lease["role"], lease["shard"]) for lease in stats["leases"]} == {
        (role, shard) for role in ("fanout", "sender", "janitor") for shard in range(SHARDS)
    }


async def test_queues_are_counted_by_shard_and_in_sum(store: Store) -> None:
    service = Service.on(store)
    (bob,), (eve,) = users_of(1, 1), users_of(2, 1)
    endpoints = [await service.endpoint(user) for user in (bob, bob, bob, eve)]
    event = await service.post(bob)
    await fan_out(store, event, [bob, eve])
    await service.post(eve)
    sender = await Sender(store, 1).take()
    ids = [f"{event.post}-1-0-{endpoint.id}" for endpoint in endpoints]
    await sender.record([Result(ids[0], State.RETRYING, due_ms=NOW_MS + 9)])
    await sender.record([Result(ids[1], State.DEAD)])
    await sender.record([Result(ids[2], State.DEAD)])
    await service.ledger.reschedule([ids[2]], NOW_MS)
    stats = await read_stats(store, SHARDS)
    of_bob = {"posts": 1, "deliveries": 1, "redeliveries": 1, "retries": 1, "dead": 1}
    assert stats["queues_by_shard"] == [
        NOTHING,
        of_bob,
        {**NOTHING, "posts": 1, "deliveries": 1},
        NOTHING,
    ]
    assert stats["queues"] == {**of_bob, "posts": 2, "deliveries": 2}


async def test_leases_tell_who_holds_them(store: Store) -> None:
    leases = Leases(store, "host.example-7", life_s=10)
    await leases.acquire([Slot(keys.SENDER, 2)])
    stats = await read_stats(store, SHARDS)
    held = [lease for lease in stats["leases"] if lease["holder"] is not None]
    assert held == [{"role": "sender", "shard": 2, "holder": "host.example-7"}]


async def test_nodes_and_workers_tell_when_they_were_seen(store: Store) -> None:
    await store.execute("ZADD", keys.NODES, NOW_MS, "gateway-1", NOW_MS + 5, "api-2")
    await store.execute("ZADD", keys.WORKERS, NOW_MS, "sender:host-1")
    stats = await read_stats(store, SHARDS)
    assert stats["nodes"] == [
        {"id": "api-2", "seen_at_ms": NOW_MS + 5},
        {"id": "gateway-1", "seen_at_ms": NOW_MS},
    ]
    assert stats["workers"] == [{"id": "host-1", "role": "sender", "seen_at_ms": NOW_MS}]


async def states(store: Store) -> tuple[int, ...]:
    return tuple((await read_stats(store, SHARDS))["endpoints"].values())


async def test_endpoints_are_counted_by_state_through_all_their_changes(store: Store) -> None:
    service = Service.on(store)
    (bob,), (eve,) = users_of(1, 1), users_of(2, 1)
    one, two, three = [await service.endpoint(user) for user in (bob, bob, eve)]
    assert await states(store) == (3, 0, 0, 0)
    sender = await Sender(store, 1).take()
    await sender.record(health=[(one.id, ["state", "open"], -1)])
    assert await states(store) == (2, 1, 0, 0)
    await sender.record(health=[(one.id, ["state", "disabled", "failure_days", "x"], -1)])
    await sender.record(health=[(one.id, ["consecutive_failures", 9], -1)])
    assert await states(store) == (2, 0, 1, 0)
    await service.endpoints.change(two.id, {"url": "https://example.com/other"})
    await service.endpoints.enable(one.id)
    await service.endpoints.enable(one.id)
    assert await states(store) == (3, 0, 0, 0)
    aimed = await service.endpoints.change(two.id, {"url": "https://example.com/"}, verify=True)
    assert aimed is not None
    assert await states(store) == (2, 0, 0, 1)
    await sender.record(health=[(two.id, ["state", "active"], 5)])
    assert await states(store) == (2, 0, 0, 1)
    await settle(store, Settled(two.id, aimed.url, "echoed"), "", b"", (9, 60, 1_000))
    assert await states(store) == (3, 0, 0, 0)
    assert await service.endpoints.delete(three.id)
    assert not await service.endpoints.delete(three.id)
    assert await states(store) == (2, 0, 0, 0)


async def test_a_state_that_comes_twice_or_for_a_deleted_endpoint_counts_once(
    store: Store,
) -> None:
    service = Service.on(store)
    (bob,) = users_of(1, 1)
    endpoint = await service.endpoint(bob)
    sender = await Sender(store, 1).take()
    for _ in range(2):  # its answer was lost
        await sender.record(health=[(endpoint.id, ["state", "open"], 5)], batch_id=b"one")
    await sender.record(health=[(endpoint.id, ["state", "open"], 5)])
    assert await states(store) == (0, 1, 0, 0)
    await service.endpoints.delete(endpoint.id)
    await sender.record(health=[(endpoint.id, ["state", "active"], 5)])
    assert await states(store) == (0, 0, 0, 0)


async def test_a_former_owner_does_not_change_health(store: Store) -> None:
    service = Service.on(store)
    (bob,) = users_of(1, 1)
    endpoint = await service.endpoint(bob)
    former = await Sender(store, 1).take()
    await Sender(store, 1, token=b"two").take()
    await former.record(health=[(endpoint.id, ["state", "open"], 5)])
    assert await states(store) == (1, 0, 0, 0)
    assert await store.execute("ZCARD", keys.probes(1)) == 0
