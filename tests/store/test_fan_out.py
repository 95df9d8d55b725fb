"""fan_out.lua: one slice in one atomic step, to everybody once, in offsets without a gap."""

import pytest

from app.domain.post import Event, EventKind
from app.store import keys
from app.store.client import Store
from app.wire import decode_deliveries, decode_event, decode_roster, stream_fields
from tests.store.places import check_keys, check_places
from tests.store.service import RETENTION_S, SHARDS, Service, fan_out, users_of

(ANN, ALF, AMY), (BOB,) = users_of(0, 3), users_of(1, 1)


async def entries(store: Store, key: bytes) -> list[dict[bytes, bytes]]:
    return [stream_fields(raw) for _, raw in await store.execute("XRANGE", key, "-", "+")]


async def test_every_recipient_gets_the_next_offset_and_stands_in_the_roster(
    store: Store,
) -> None:
    service = Service.on(store)
    first, second = await service.post(), await service.post()
    assert await fan_out(store, first, [ANN]) == (1, 0)
    assert await fan_out(store, second, [ANN, ALF, BOB]) == (3, 0)
    roster = decode_roster(await store.execute("GET", keys.roster(0, second.post, 1, 0)))
    assert roster.users == (ANN, ALF)
    assert roster.offsets == (2, 1)
    assert roster.endpoints == ((), ())
    seconds, micros = await store.execute("TIME")
    assert abs(roster.at_ms - (int(seconds) * 1000 + int(micros) // 1000)) < 5_000
    assert await store.execute("LRANGE", keys.inbox(0, ANN), 0, -1) == [
        f"c1.{event.post}".encode() for event in (first, second)
    ]


async def test_a_slice_fanned_out_again_after_a_crash_changes_nothing(store: Store) -> None:
    service = Service.on(store)
    await service.endpoint(ANN)
    await store.call("join_node", [keys.routes(0)], ["gateway", ANN])
    event = await service.post()
    assert await fan_out(store, event, [ANN, BOB]) == (2, 1)
    before = [await dump(store), await store.execute("XLEN", keys.sockets(0, "gateway"))]
    assert await fan_out(store, event, [ANN, BOB, ALF]) == (0, 0)
    assert [await dump(store), await store.execute("XLEN", keys.sockets(0, "gateway"))] == before


async def dump(store: Store) -> dict[bytes, bytes]:
    names = [name for found in await store.broadcast("KEYS", "*") for name in found]
    return {name: await store.execute("DUMP", name) for name in names}


async def test_slices_and_versions_of_a_post_are_apart(store: Store) -> None:
    event = await Service.on(store).post()
    edit = Event(event.post, 2, EventKind.UPDATED)
    assert await fan_out(store, event, [ANN]) == (1, 0)
    assert await fan_out(store, event, [ALF], slice_=1) == (1, 0)
    assert await fan_out(store, edit, [ANN]) == (1, 0)
    assert await store.execute("LLEN", keys.inbox(0, ANN)) == 2
    tally = await store.execute("HGETALL", keys.tally(0, event.post))
    assert tally == [b"recipients", b"3"]


async def test_one_entry_has_the_webhooks_of_all_recipients_of_the_slice(store: Store) -> None:
    service = Service.on(store)
    one, two = await service.endpoint(ANN), await service.endpoint(ANN)
    three = await service.endpoint(ALF)
    event = await service.post()
    assert await fan_out(store, event, [ANN, AMY, ALF], slice_=7) == (3, 3)
    (entry,) = await entries(store, keys.deliveries(0))
    assert (decode_event(entry[b"e"]), entry[b"s"]) == (event, b"7")
    expected = [(one.id, ANN, 1), (two.id, ANN, 1), (three.id, ALF, 1)]
    assert decode_deliveries(entry[b"d"]) == expected
    roster = decode_roster(await store.execute("GET", keys.roster(0, event.post, 1, 7)))
    assert roster.endpoints == ((one.id, two.id), (), (three.id,))
    tally = await store.execute("HGETALL", keys.tally(0, event.post))
    assert tally == [b"recipients", b"3", b"webhooks", b"3"]
    assert len(await check_places(store, SHARDS)) == 3


async def test_without_webhooks_there_is_no_entry(store: Store) -> None:
    await fan_out(store, await Service.on(store).post(), [ANN])
    assert not await store.execute("EXISTS", keys.deliveries(0))


@pytest.mark.parametrize(
    ("types", "wanted"),
    [
        (("*",), {"created", "updated", "deleted"}),
        (("post.*",), {"created", "updated", "deleted"}),
        (("post.created",), {"created"}),
        (("task.*", "post.deleted", "post.up*"), {"updated", "deleted"}),
        (("task.*",), set()),
        (("post",), set()),
        (("pos",), set()),
        (("post.create",), set()),
        (("p*",), {"created", "updated", "deleted"}),
        ((".*",), set()),
    ],
)
async def test_an_endpoint_gets_only_the_types_it_wants(
    store: Store, types: tuple[str, ...], wanted: set[str]
) -> None:
    service = Service.on(store)
    await service.endpoint(ANN, types)
    created = await service.post()
    got = set()
    for version, kind in enumerate(EventKind, 1):
        event = Event(created.post, version, kind)
        _, webhooks = await fan_out(store, event, [ANN])
        got |= {kind.word} if webhooks else set()
    assert got == wanted


async def test_a_type_of_the_authors_choosing_is_told_apart(store: Store) -> None:
    service = Service.on(store)
    await service.endpoint(ANN, ("task.*",))
    event = await service.post()
    assert await fan_out(store, event, [ANN], type_="task") == (1, 1)
    assert await fan_out(store, event, [ANN], type_="tasks", slice_=1) == (1, 0)


async def test_whoever_has_the_most_endpoints_in_a_slice_of_the_largest_is_no_trouble(
    store: Store,
) -> None:
    service = Service.on(store)
    users = users_of(0, 512)
    words = [f"{number:08}00" for number in range(16)]
    route = [part for user in users for part in (user, " ".join(words))]
    await store.execute("HSET", keys.routes(0), *route)
    event = await service.post()
    assert await fan_out(store, event, users) == (512, 512 * 16)
    (entry,) = await entries(store, keys.deliveries(0))
    assert len(decode_deliveries(entry[b"d"])) == 512 * 16


async def test_a_slice_that_has_grown_by_thousands_is_no_trouble(store: Store) -> None:
    event = await Service.on(store).post()
    users = [f"b{number}" for number in range(9_000)]
    await store.execute("HSET", keys.routes(0), users[8_500], "0000000100")
    await store.execute("HSET", keys.trimmed(0), users[4_500], 7)
    assert await fan_out(store, event, users, shards=1) == (9_000, 1)
    roster = decode_roster(await store.execute("GET", keys.roster(0, event.post, 1, 0)))
    assert roster.users == tuple(users)
    assert roster.offsets == tuple(8 if user == users[4_500] else 1 for user in users)
    assert roster.endpoints[8_500] == ("0000000100",)


async def test_inboxes_have_no_end_but_all_else_has(store: Store) -> None:
    service = Service.on(store)
    await service.endpoint(ANN)
    await store.call("join_node", [keys.routes(0)], ["gateway", ANN])
    event = await service.post()
    await fan_out(store, event, [ANN, ALF])
    seen = await check_keys(store)
    assert (seen["roster"], seen["tally"], seen["sockets"], seen["inbox"]) == (1, 1, 1, 2)
    ttl_s = await store.execute("TTL", keys.roster(0, event.post, 1, 0))
    assert RETENTION_S - 5 <= ttl_s <= RETENTION_S


async def test_a_later_version_prolongs_the_tally_to_the_life_of_its_roster(
    store: Store,
) -> None:
    event = await Service.on(store).post()
    await fan_out(store, event, [ANN])
    await store.execute("EXPIRE", keys.tally(0, event.post), 10)
    await fan_out(store, Event(event.post, 2, EventKind.UPDATED), [ANN])
    assert await store.execute("TTL", keys.tally(0, event.post)) > 10
