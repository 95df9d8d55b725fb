"""The canary: a mark sent through the same streams as posts, to see that they move.

The api puts it on a posts stream, the fan-out worker hands it on to the deliveries stream of the
same shard, and the sender writes down the time it bears.
"""

from app.store import keys
from app.store.client import Store

TTL_S = 120


async def emit(store: Store, shard: int, now_ms: int) -> None:
    await store.execute("XADD", keys.posts(shard), "*", "k", now_ms)


async def hand_on(store: Store, shard: int, born_ms: int) -> None:
    await store.execute("XADD", keys.deliveries(shard), "*", "k", born_ms)


async def arrived(store: Store, shard: int, born_ms: int) -> None:
    await store.execute("SET", keys.canary(shard), born_ms, "EX", TTL_S)


async def newest_ms(store: Store, shards: int) -> int | None:
    """When the canary that came through last was sent; None when none has lately."""
    times = await store.run_many([("GET", keys.canary(shard)) for shard in range(shards)])
    return max((int(time) for time in times if time is not None), default=None)
