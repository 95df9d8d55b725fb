"""Nodes: where users can be reached, and that nothing pushed to one goes missing unnoticed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from app.clock import now_ms
from app.domain.post import Event, EventKind
from app.store import keys, nodes
from app.store.client import Store
from app.store.nodes import Node, Push, give_up
from tests.opened_store import opened
from tests.store.proxy import Proxy
from tests.store.service import SHARDS, Service, fan_out, users_of
from tests.wait import wait_until
from workers.janitor import JanitorShard, JanitorStats

(ANN, ALF), (BOB,) = users_of(0, 2), users_of(1, 1)
EVERY_SHARD = [Push(shard, None, ()) for shard in range(SHARDS)]


def event(number: int) -> Event:
    return Event(f"01k2v3w4x5y6z7{number:02}00", 1, EventKind.CREATED)


async def route(store: Store, user: str, shard: int) -> bytes | None:
    return await store.execute("HGET", keys.routes(shard), user)


@asynccontextmanager
async def running(
    node: Node, hook: Callable[[list[Push]], Awaitable[None]] | None = None
) -> AsyncIterator[list[Push]]:
    """What the node is given while it runs."""
    got: list[Push] = []
    stop = asyncio.Event()

    async def on_pushes(pushes: list[Push]) -> None:
        got.extend(pushes)
        if hook is not None:
            await hook(pushes)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(node.run(on_pushes, stop))
        try:
            yield got
        finally:
            stop.set()


async def entries_left(store: Store, node: str) -> int:
    lengths = [await store.execute("XLEN", keys.sockets(s, node)) for s in range(SHARDS)]
    return sum(lengths)


async def test_users_routes_name_the_node_while_they_are_joined(store: Store) -> None:
    node, other = Node(store, SHARDS, "gw-1"), Node(store, SHARDS, "gw-11")
    endpoint = await Service.on(store).endpoint(ANN)
    for _ in range(2):
        await node.join([ANN, BOB])
    await other.join([ANN])
    assert await route(store, ANN, 0) == f"{endpoint.id} @gw-1 @gw-11".encode()
    assert await route(store, BOB, 1) == b"@gw-1"
    for _ in range(2):
        await node.leave([ANN, BOB, ALF])
    assert await route(store, ANN, 0) == f"{endpoint.id} @gw-11".encode()
    assert await route(store, BOB, 1) is None
    await node.join([])


async def test_what_is_fanned_out_comes_to_every_node_of_a_user(store: Store) -> None:
    one, two = Node(store, SHARDS, "one"), Node(store, SHARDS, "two")
    await one.join([ANN, ALF, BOB])
    await two.join([ANN])
    async with running(one) as by_one, running(two) as by_two:
        await fan_out(store, event(0), [ANN, ALF, BOB])
        await fan_out(store, event(1), [ANN])
        await wait_until(lambda: len(by_one) == 3 and len(by_two) == 2)
    first, second = Push(0, event(0), ((ANN, 1), (ALF, 1))), Push(0, event(1), ((ANN, 2),))
    assert [push for push in by_one if push.shard == 0] == [first, second]
    assert [push for push in by_one if push.shard == 1] == [Push(1, event(0), ((BOB, 1),))]
    assert by_two == [Push(0, event(0), ((ANN, 1),)), second]
    assert one.entries_read == 3


async def test_what_was_handed_over_is_deleted_and_what_comes_meanwhile_is_not(
    store: Store,
) -> None:
    node = Node(store, SHARDS, "one")
    await node.join([ANN])

    async def hook(pushes: list[Push]) -> None:
        if pushes[0].event == event(0):
            await fan_out(store, event(1), [ANN])

    await fan_out(store, event(0), [ANN])
    async with running(node, hook) as got:
        await wait_until(lambda: len(got) == 2)
        await wait_until(lambda: _is_empty(store))
    assert [push.event for push in got] == [event(0), event(1)]


async def _is_empty(store: Store) -> bool:
    return await entries_left(store, "one") == 0


async def test_a_stream_that_grew_too_long_is_one_mark_and_then_goes_on(store: Store) -> None:
    node = Node(store, SHARDS, "one")
    await node.join([ANN])
    for number in range(4):
        await fan_out(store, event(number), [ANN], sockets_max=3)
    await fan_out(store, event(4), [ANN], sockets_max=3)
    assert await entries_left(store, "one") == 2
    async with running(node) as got:
        await wait_until(lambda: len(got) == 2)
    assert got == [Push(0, None, ()), Push(0, event(4), ((ANN, 5),))]
    assert node.overflows == 1


async def test_what_cannot_be_read_sends_the_shard_to_its_inboxes_and_the_rest_goes_on(
    store: Store,
) -> None:
    node = Node(store, SHARDS, "one")
    await node.join([ANN])
    async with running(node) as got:
        unreadable = ([b"e", b"?", b"r", b"\x90"], [b"u", ANN], [b"e", b"c1.p", b"r", b"\x91\x07"])
        for fields in unreadable:
            await store.execute("XADD", keys.sockets(0, "one"), "*", *fields)
        await fan_out(store, event(0), [ANN])
        await wait_until(lambda: len(got) == 4)
    assert got == [*[Push(0, None, ())] * 3, Push(0, event(0), ((ANN, 1),))]


async def test_a_stream_has_an_end_if_its_node_is_gone(store: Store) -> None:
    await Node(store, SHARDS, "one").join([ANN])
    await fan_out(store, event(0), [ANN])
    assert 110 <= await store.execute("TTL", keys.sockets(0, "one")) <= 120


async def test_a_stream_that_begins_anew_under_older_ids_is_read_all_the_same(
    store: Store,
) -> None:
    node = Node(store, SHARDS, "one")
    await node.join([ANN])
    async with running(node) as got:
        await fan_out(store, event(0), [ANN])
        await wait_until(lambda: _is_empty(store))
        # It expired, and the clock of the store has been set back since.
        await store.execute("DEL", keys.sockets(0, "one"))
        await store.execute("XADD", keys.sockets(0, "one"), "5-1", "u", ANN, "n", 1)
        await wait_until(lambda: len(got) == 2)
    assert got[1] == Push(0, None, ((ANN, 1),))


async def test_a_delivery_retried_by_call_is_pushed_once_more(store: Store) -> None:
    service = Service.on(store)
    node = Node(store, SHARDS, "one")
    await node.join([ANN])
    async with running(node) as got:
        posted = await service.post()
        await fan_out(store, posted, [ANN])
        await wait_until(lambda: _is_empty(store))
        await store.execute("DEL", keys.sockets(0, "one"))  # nothing came for a long time
        assert await service.ledger.retry(f"{posted.post}-1-0-0-0", now_ms())
        await wait_until(lambda: len(got) == 2)
        assert 0 < await store.execute("TTL", keys.sockets(0, "one")) <= 120
    assert got[1] == Push(0, None, ((ANN, 1),))


async def test_a_retry_does_not_make_a_full_stream_longer(store: Store) -> None:
    await Node(store, SHARDS, "one").join([ANN])
    for _ in range(2):
        args = [keys.tag(0), ANN, 1, 1, 120]
        await store.call("push_again", [keys.routes(0)], args)
    assert await entries_left(store, "one") == 1


async def test_a_node_says_that_it_lives_and_is_gone_when_closed(store: Store) -> None:
    node = Node(store, SHARDS, "one", life_s=0.06)
    await node.join([ANN])
    began_ms = now_ms()
    async with running(node):
        await wait_until(lambda: _seen_after(store, began_ms - 1))
        await wait_until(lambda: _seen_after(store, began_ms + 20))
        await fan_out(store, event(0), [ANN])
    await node.close()
    assert await store.execute("ZCARD", keys.NODES) == 0
    assert await entries_left(store, "one") == 0


async def _seen_after(store: Store, at_ms: int) -> bool:
    return int(await store.execute("ZSCORE", keys.NODES, "one") or 0) > at_ms


async def test_a_node_that_was_given_up_wrongly_is_told_and_can_join_again(
    store: Store,
) -> None:
    node = Node(store, SHARDS, "one")
    users = [f"user{number}" for number in range(2_500)]
    shard_0 = users_of(0, 600)
    await node.join(users)
    await fan_out(store, event(0), [ANN])
    assert await give_up(store, 0, "one", shard_0) == 600
    assert await route(store, ANN, 0) is None
    assert await route(store, BOB, 1) == b"@one"
    assert 110 <= await store.execute("TTL", keys.sockets(0, "one")) <= 120
    async with running(node) as got:
        await wait_until(lambda: got)
    assert got == [Push(0, None, ())]


async def test_a_janitor_whose_clock_is_ahead_tells_a_living_node_to_join_again(
    store: Store,
) -> None:
    node = Node(store, SHARDS, "one")
    await node.join([ANN])
    async with running(node) as got:
        await wait_until(lambda: _seen_after(store, 0))
        stats = JanitorStats()
        janitor = JanitorShard(store, shard=0, retention_s=3_600, stats=stats)
        await janitor.tidy(now_ms() + 60_000)
        assert (stats.routes_cleaned, stats.nodes_removed) == (1, 1)
        assert await route(store, ANN, 0) is None
        await wait_until(lambda: got)
    assert got == [Push(0, None, ())]


async def test_after_a_stall_so_long_that_others_may_have_given_it_up_every_shard_goes_on(
    single_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(single_store, SHARDS, "one", life_s=0.06)
    beats = 0

    async def beat() -> None:
        nonlocal beats
        beats += 1
        if beats == 2:  # so long ago is the first one, to the node
            await real_beat()
            node._beat_at -= 0.04
        else:
            await real_beat()

    real_beat = node.beat
    monkeypatch.setattr(node, "beat", beat)
    async with running(node) as got:
        await wait_until(lambda: beats >= 3)
        await wait_until(lambda: got)
    assert got[:SHARDS] == EVERY_SHARD


async def test_after_an_outage_of_the_store_every_shard_goes_on(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "BACKOFF_MAX_S", 0.01)
    async with opened(proxy.url) as store:
        node = Node(store, SHARDS, "one")
        async with running(node) as got:
            await wait_until(lambda: b"XREAD" in proxy.passed)
            proxy.cut()
            await wait_until(lambda: len(got) == SHARDS)
            await node.join([ANN])
            await fan_out(store, event(0), [ANN])
            await wait_until(lambda: len(got) > SHARDS)
    assert got == [*EVERY_SHARD, Push(0, event(0), ((ANN, 1),))]


async def test_a_node_waits_for_the_store_with_its_first_sign_of_life(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "BACKOFF_MAX_S", 0.01)
    async with opened(proxy.url) as store, AsyncExitStack() as stack:
        await store.broadcast("PING")
        async with proxy.losing_replies():
            got = await stack.enter_async_context(running(Node(store, SHARDS, "one")))
            await wait_until(lambda: b"ZADD" in proxy.passed)
        proxy.passed.clear()
        await wait_until(lambda: b"XREAD" in proxy.passed)
        assert b"ZADD" in proxy.passed
        assert got == []
