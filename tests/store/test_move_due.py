"""move_due.lua: what is due goes to the stream, no sooner, and no more than fits."""

from app.domain.delivery import State
from app.store import keys
from app.store.client import Store
from app.wire import stream_fields
from tests.store.places import AGAIN, SCHEDULE, check_places
from tests.store.service import NOW_MS, SHARDS, Result, Sender, Service, fan_out, users_of

((BOB,),) = (users_of(1, 1),)


async def scheduled(store: Store, *due_ms: int) -> tuple[Sender, list[str]]:
    """Deliveries that are due at these times, and the sender they belong to."""
    service = Service.on(store)
    endpoints = [await service.endpoint(BOB) for _ in due_ms]
    event = await service.post()
    await fan_out(store, event, [BOB])
    ids = [f"{event.post}-1-0-{endpoint.id}" for endpoint in endpoints]
    sender = await Sender(store, 1).take()
    entries = [id_ for id_, _ in await sender.read()]
    results = [
        Result(id_, State.RETRYING, due_ms=due) for id_, due in zip(ids, due_ms, strict=True)
    ]
    await sender.record(results, done=entries)
    return sender, ids


async def moved(sender: Sender) -> list[str]:
    return [stream_fields(raw)[b"d"].decode() for _, raw in await sender.read(again=True)]


async def test_what_is_due_moves_in_order_and_the_next_time_is_told(store: Store) -> None:
    sender, ids = await scheduled(store, NOW_MS + 20, NOW_MS + 5, NOW_MS + 10)
    assert await sender.move_due(NOW_MS + 4) == [0, b"%d" % (NOW_MS + 5)]
    assert await sender.move_due(NOW_MS + 10) == [2, b"%d" % (NOW_MS + 20)]
    assert await moved(sender) == [ids[1], ids[2]]
    places = await check_places(store, SHARDS)
    assert [places[id_].place for id_ in ids] == [SCHEDULE, AGAIN, AGAIN]
    assert await sender.move_due(NOW_MS + 20) == [1, b""]
    assert await sender.move_due(NOW_MS + 20) == [0, b""]
    assert await moved(sender) == [ids[0]]


async def test_no_more_move_at_once_than_asked_for(store: Store) -> None:
    sender, ids = await scheduled(store, *[NOW_MS] * 5)
    assert await sender.move_due(NOW_MS, limit=2) == [2, b"%d" % NOW_MS]
    assert await sender.move_due(NOW_MS, limit=2) == [2, b"%d" % NOW_MS]
    assert await sender.move_due(NOW_MS, limit=2) == [1, b""]
    assert sorted(await moved(sender)) == sorted(ids)


async def test_what_does_not_fit_into_the_stream_stays_scheduled(store: Store) -> None:
    sender, ids = await scheduled(store, *[NOW_MS] * 5)
    sender.redeliveries_max = 2
    assert await sender.move_due(NOW_MS) == [2, b"%d" % NOW_MS]
    assert await sender.move_due(NOW_MS) == [0, b"%d" % NOW_MS]
    ((entry, raw), _) = await sender.read(again=True)
    first = Result(stream_fields(raw)[b"d"].decode(), State.DELIVERED, 2)
    await sender.record([first], redone=[entry])
    assert (await sender.move_due(NOW_MS))[0] == 1
    assert len(await check_places(store, SHARDS)) == len(ids)


async def test_without_the_lease_nothing_moves(store: Store) -> None:
    sender, _ = await scheduled(store, NOW_MS)
    await Sender(store, 1, token=b"two").take()
    assert await sender.move_due(NOW_MS) == b"lost"
    assert await store.execute("ZCARD", keys.retries(1)) == 1
