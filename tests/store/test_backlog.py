"""What waits in a shard: how much, for how long, and who looks after it."""

from app.domain.delivery import State
from app.store import keys
from app.store.backlog import read_backlog, read_memory
from app.store.client import Store
from app.store.leases import Leases, Slot
from tests.store.service import Result, Sender, Service, fan_out, users_of

EMPTY = {"posts": 0, "deliveries": 0, "redeliveries": 0, "retries": 0, "dead": 0}
SHARD = 1


async def time_of(store: Store, stream: bytes) -> int:
    """When the first entry of a stream was made, by the store's clock."""
    [(id_, _)] = await store.execute("XRANGE", stream, "-", "+", "COUNT", 1)
    return int(id_.partition(b"-")[0])


async def test_an_empty_shard_has_nothing_that_waits_and_nobody_who_looks_after_it(store: Store):
    backlog = await read_backlog(store, SHARD, 1_000)
    assert backlog.entries == EMPTY
    assert set(backlog.oldest_s.values()) == {0.0}
    assert "dead" not in backlog.oldest_s
    assert backlog.unowned == {"fanout", "sender", "janitor"}
    assert backlog.endpoints == {"active": 0, "open": 0, "disabled": 0, "unverified": 0}


async def test_streams_tell_how_old_their_oldest_entry_is(store: Store):
    service = Service.on(store)
    (bob,) = users_of(SHARD, 1)
    await service.endpoint(bob)
    first = await service.post(bob)
    await fan_out(store, first, [bob])
    await service.post(bob)
    posted_ms = await time_of(store, keys.posts(SHARD))
    backlog = await read_backlog(store, SHARD, posted_ms + 7_500)
    assert backlog.entries == {**EMPTY, "posts": 2, "deliveries": 1}
    assert backlog.oldest_s["posts"] == 7.5
    assert 0 < backlog.oldest_s["deliveries"] <= 7.5
    assert backlog.endpoints["active"] == 1
    # A clock behind that of the store makes nothing younger than now.
    assert (await read_backlog(store, SHARD, 1_000)).oldest_s["posts"] == 0.0


async def test_retries_tell_for_how_long_the_first_one_has_been_due(store: Store):
    service = Service.on(store)
    (bob,) = users_of(SHARD, 1)
    endpoints = [await service.endpoint(bob) for _ in range(2)]
    event = await service.post(bob)
    await fan_out(store, event, [bob])
    sender = await Sender(store, SHARD).take()
    due_ms = 1_800_000_000_000
    ids = [f"{event.post}-1-0-{endpoint.id}" for endpoint in endpoints]
    await sender.record(
        [Result(id_, State.RETRYING, due_ms=due_ms + n * 1_000) for n, id_ in enumerate(ids)]
    )
    early = await read_backlog(store, SHARD, due_ms - 1)
    late = await read_backlog(store, SHARD, due_ms + 2_000)
    assert early.entries["retries"] == late.entries["retries"] == 2
    assert (early.oldest_s["retries"], late.oldest_s["retries"]) == (0.0, 2.0)
    # The schedule does not follow a wall clock that was set: an hour forwards makes nothing late.
    await store.execute("SET", keys.shift(SHARD), 3_600_000)
    shifted = await read_backlog(store, SHARD, due_ms + 3_600_000 + 500)
    assert shifted.oldest_s["retries"] == 0.5


async def test_a_lease_that_somebody_holds_is_not_missed(store: Store):
    await Leases(store, "host-1", life_s=10).acquire([Slot(keys.SENDER, SHARD)])
    backlog = await read_backlog(store, SHARD, 1_000)
    assert backlog.unowned == {"fanout", "janitor"}


async def test_every_server_tells_its_memory_and_what_it_may_take(store: Store):
    servers = await read_memory(store)
    assert len(servers) == (1 if store.is_one_server else 3)
    for memory in servers.values():
        assert 100_000 < memory.used < memory.limit
