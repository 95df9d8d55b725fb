"""The newest posts: those that wait and those that are fanned out, by their time, page by page."""

import pytest

from app.domain.ids import post_id, shard_of_id
from app.domain.post import Event, EventKind
from app.store import keys
from app.store.client import Store
from app.store.newest import KEPT_MAX, WAITING_MAX, newest_posts
from app.wire import encode_event
from tests.store.service import NOW_MS, RETENTION_S, SHARDS, Service


async def finish(store: Store, event: Event, *, kept_max: int = KEPT_MAX) -> None:
    """What the owner of the shard does when an event is fanned out."""
    shard = shard_of_id(event.post)
    await store.execute("SET", keys.lease(shard, keys.FANOUT), "one")
    await store.execute("XTRIM", keys.posts(shard), "MAXLEN", 0)
    await store.call(
        "finish_event",
        [
            *(keys.lease(shard, keys.FANOUT), keys.posts(shard)),
            *(keys.post(shard, event.post), keys.newest(shard)),
        ],
        [
            *("one", keys.GROUP, "1-1", event.version, 1),
            *(event.post, kept_max, RETENTION_S),
        ],
    )


async def listed(store: Store, after: str | None = None, limit: int = 50) -> list[str]:
    return [post.id for post in (await newest_posts(store, SHARDS, after, limit))[0]]


@pytest.fixture
async def service(store: Store) -> Service:
    return Service.on(store)


async def made(service: Service, number: int, *, shard: int = 0) -> list[str]:
    """Posts in the order of their time, all of one shard."""
    ids = [post_id(NOW_MS + n, n, shard) for n in range(number)]
    for id_ in ids:
        await service.store.execute(
            *("HSET", keys.post(shard, id_), "author", "ann", "type", "post", "version", 1),
            *("created_at", NOW_MS, "updated_at", NOW_MS, "data", "{}"),
        )
    return ids


async def test_nothing_was_posted(store: Store):
    assert await newest_posts(store, SHARDS, None, 50) == ([], None)


async def test_a_post_is_listed_from_its_acceptance_on_and_once(service: Service):
    store = service.store
    first = await service.post("ann")
    second = await service.post("bob")
    both = sorted([first.post, second.post], reverse=True)
    assert await listed(store) == both
    await finish(store, first)
    assert await listed(store) == both
    await finish(store, first)  # twice, as after a lost answer
    await finish(store, second)
    assert await listed(store) == both


async def test_a_post_is_listed_without_its_data_and_as_it_is_now(service: Service):
    event = await service.post("ann")
    await service.posts.delete(event.post, NOW_MS + 5)
    ((post,), next_) = await newest_posts(service.store, SHARDS, None, 50)
    assert (post.id, post.author, post.type, post.version) == (event.post, "ann", "post", 2)
    assert (post.created_at_ms, post.updated_at_ms) == (NOW_MS, NOW_MS + 5)
    assert (post.deleted, post.data, next_) == (True, b"", None)


async def test_pages_go_on_where_the_one_before_ended_across_shards(service: Service):
    store = service.store
    ids = [id_ for shard in range(SHARDS) for id_ in await made(service, 7, shard=shard)]
    for id_ in ids:
        await finish(store, Event(id_, 1, EventKind.CREATED))
    found: list[str] = []
    after = None
    while True:
        page, after = await newest_posts(store, SHARDS, after, 5)
        found += [post.id for post in page]
        if after is None:
            break
        assert len(page) == 5
    assert found == sorted(ids, reverse=True)


async def test_of_each_shard_so_many_are_kept_the_newest(service: Service):
    ids = await made(service, 5)
    for id_ in ids:
        await finish(service.store, Event(id_, 1, EventKind.CREATED), kept_max=3)
    assert await listed(service.store) == ids[:1:-1]
    ttl_s = await service.store.execute("TTL", keys.newest(0))
    assert 0 < ttl_s <= RETENTION_S


async def test_an_edit_does_not_list_a_post_again(service: Service):
    (id_,) = await made(service, 1)
    await finish(service.store, Event(id_, 2, EventKind.UPDATED))
    assert await listed(service.store) == []


async def test_a_post_whose_time_is_over_is_left_out(service: Service):
    ids = await made(service, 3)
    for id_ in ids:
        await finish(service.store, Event(id_, 1, EventKind.CREATED))
    await service.store.execute("DEL", keys.post(0, ids[1]))
    assert await listed(service.store) == [ids[2], ids[0]]


async def test_what_else_is_in_the_stream_is_no_post(service: Service):
    store = service.store
    (id_,) = await made(service, 1)
    stream = keys.posts(0)
    await store.execute("XADD", stream, "*", "k", NOW_MS)
    await store.execute("XADD", stream, "*", "e", b"\xff")
    await store.execute("XADD", stream, "*", "e", "c1.not an id")
    for event in (Event(id_, 2, EventKind.UPDATED), Event(id_, 3, EventKind.DELETED)):
        await store.execute("XADD", stream, "*", "e", encode_event(event), "a", "ann")
    assert await listed(store) == []
    await store.execute("XADD", stream, "*", "e", f"c1.{id_}", "a", "ann")
    assert await listed(store) == [id_]


async def test_of_a_long_stream_the_newest_entries_are_looked_at(service: Service):
    store = service.store
    ids = await made(service, WAITING_MAX + 2)
    for id_ in ids:
        await store.execute("XADD", keys.posts(0), "*", "e", f"c1.{id_}", "a", "ann")
    assert await listed(store, limit=WAITING_MAX + 2) == ids[:1:-1]
