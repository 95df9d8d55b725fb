"""A canary goes the way of posts and deliveries, and leaves the time it was sent."""

from app.store import canary, keys
from app.store.client import Store
from app.wire import stream_fields

SHARDS = 4


async def test_a_canary_is_put_on_the_posts_stream_and_handed_on(store: Store) -> None:
    await canary.emit(store, 2, 1234)
    await canary.hand_on(store, 2, 1234)
    for key in (keys.posts(2), keys.deliveries(2)):
        ((_, raw),) = await store.execute("XRANGE", key, "-", "+")
        assert stream_fields(raw) == {b"k": b"1234"}


async def test_the_newest_of_all_shards_counts_and_is_forgotten_in_time(store: Store) -> None:
    assert await canary.newest_ms(store, SHARDS) is None
    await canary.arrived(store, 0, 1000)
    await canary.arrived(store, 3, 2000)
    await canary.arrived(store, 1, 500)
    assert await canary.newest_ms(store, SHARDS) == 2000
    ttl_s = await store.execute("TTL", keys.canary(3))
    assert 0 < ttl_s <= canary.TTL_S
