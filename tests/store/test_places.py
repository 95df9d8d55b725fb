"""The checker of places and keys sees what it is there to see."""

import pytest

from app.domain.delivery import State
from app.store import keys
from app.store.client import Store
from tests.store.places import check_keys, check_places
from tests.store.scene import Scene, scene
from tests.store.service import NOW_MS, SHARDS, Result


async def nowhere(on: Scene) -> None:
    await on.store.execute("DEL", keys.deliveries(1))


async def lost_from_the_schedule(on: Scene) -> None:
    await on.sender.record([Result(on.id(), State.RETRYING, due_ms=NOW_MS)], done=on.entries)
    await on.store.execute("DEL", keys.retries(1))


async def in_two_places(on: Scene) -> None:
    await on.sender.record([Result(on.id(), State.RETRYING, due_ms=NOW_MS)], done=on.entries)
    await on.store.execute("ZADD", keys.parked(1, on.endpoints[0].id), 1, on.id())


async def moved_and_lost(on: Scene) -> None:
    await on.sender.record([Result(on.id(), State.RETRYING, due_ms=NOW_MS)], done=on.entries)
    await on.sender.move_due(NOW_MS)
    await on.store.execute("DEL", keys.redeliveries(1))


async def delivered_but_still_scheduled(on: Scene) -> None:
    await on.sender.record([Result(on.id(), State.DELIVERED)], done=on.entries)
    await on.store.execute("ZADD", keys.retries(1), 1, on.id())


async def parked_under_another_state(on: Scene) -> None:
    await on.sender.record([Result(on.id(), State.PARKED_PENDING, 0)], done=on.entries)
    key = keys.outcomes(1, on.event.post, 1, 0)
    await on.store.execute("HSET", key, on.endpoints[0].id, "p0,,1")


async def counted_wrongly(on: Scene) -> None:
    await on.store.execute("HINCRBY", keys.tally(1, on.event.post), "d", 1)


async def acknowledged_but_kept(on: Scene) -> None:
    await on.store.execute("XACK", keys.deliveries(1), keys.GROUP, *on.entries)


async def recorded_for_a_stranger(on: Scene) -> None:
    await on.store.execute("HSET", keys.outcomes(1, on.event.post, 1, 0), "0000000001", "d1,,1")


@pytest.mark.parametrize(
    "spoil",
    [
        *(nowhere, lost_from_the_schedule, in_two_places, moved_and_lost),
        *(delivered_but_still_scheduled, parked_under_another_state, counted_wrongly),
        *(acknowledged_but_kept, recorded_for_a_stranger),
    ],
)
async def test_what_must_not_be_is_seen(single_store: Store, spoil: object) -> None:
    on = await scene(single_store)
    await check_places(single_store, SHARDS)
    await spoil(on)
    with pytest.raises(AssertionError):
        await check_places(single_store, SHARDS)


@pytest.mark.parametrize(
    "command",
    [
        ("SET", "stray:{1}", "x"),
        ("PERSIST", keys.tally(1, "{post}")),
        ("EXPIRE", keys.routes(1), 60),
        ("SET", keys.canary(1), "x"),
        ("SADD", keys.friends(1, "bob"), "x"),
    ],
)
async def test_a_key_that_is_not_as_documented_is_seen(
    single_store: Store, command: tuple[bytes | str | int, ...]
) -> None:
    on = await scene(single_store)
    await check_keys(single_store)
    post = on.event.post.encode()
    words = [w.replace(b"{post}", post) if isinstance(w, bytes) else w for w in command]
    await single_store.execute(*words)
    with pytest.raises(AssertionError):
        await check_keys(single_store)
