"""Putting webhook deliveries back on their way: one by one, or all of a set in a time."""

from collections.abc import AsyncIterator, Sequence

from app.domain.ids import shard_of_id
from app.store import keys
from app.store.client import Call, Store
from app.store.replies import pairs
from app.wire import encode_time

MOVE_MAX = 500  # deliveries put back in one call
MOVING_MAX_MS = 600_000  # what is dated later than this was not put there while we were at it


async def reschedule(
    store: Store,
    ids: Sequence[str],
    now_ms: int,
    *,
    changes_max: int,
    start_ms: int = 0,
    gap_ms: float = 0,
) -> int:
    """Sends deliveries again: at once, or from `start_ms` on, spread out.

    Returns how many; one that is on its way already is not counted. None of them is parked or a
    dead letter afterwards.
    """
    by_shard: dict[int, list[str]] = {}
    for id_ in ids:
        by_shard.setdefault(shard_of_id(id_), []).append(id_)
    calls: list[Call] = []
    for shard, members in by_shard.items():
        named = [keys.retries(shard), keys.dead(shard)]
        named += [keys.redeliveries(shard), keys.changes(shard), keys.shift(shard)]
        head = [keys.tag(shard), changes_max, start_ms, round(gap_ms), encode_time(now_ms)]
        calls.append(Call("reschedule", named, [*head, *members]))
    return sum([scheduled for scheduled, _ in await store.call_many(calls)])


async def reschedule_set(
    store: Store,
    key: bytes,
    *,
    endpoint: str | None,
    since_ms: int | None,
    until_ms: int,
    now_ms: int,
    gap_ms: float,
    changes_max: int,
) -> int:
    """The same for all of a set with a score from `since_ms` to `until_ms`, from now on, paced.

    Until now means all there is: with what was put there by a clock that has been set back since,
    and without what is put there meanwhile.
    """
    spans: list[tuple[int | None, int | str]] = [(since_ms, until_ms)]
    if until_ms >= now_ms:
        spans.append((max(until_ms, now_ms + MOVING_MAX_MS), "+inf"))
    scheduled = 0
    for span in spans:
        async for ids in _walk(store, key, endpoint, *span):
            scheduled += await reschedule(
                store,
                ids,
                now_ms,
                changes_max=changes_max,
                start_ms=now_ms + round(gap_ms * scheduled),
                gap_ms=gap_ms,
            )
    return scheduled


async def _walk(
    store: Store, key: bytes, endpoint: str | None, since_ms: int | None, until_ms: int | str
) -> AsyncIterator[list[str]]:
    """The members of a set, by score, those of one endpoint or all; in parts of `MOVE_MAX`.

    What is yielded must be taken out of the set before the next part is asked for. What is not
    stays, and is stepped over: by its score, and among those of the same score by number.
    """
    low: int | str = "-inf" if since_ms is None else since_ms
    stepped_over = 0
    while True:
        raw = await store.execute(
            *("ZRANGE", key, low, until_ms, "BYSCORE"),
            *("LIMIT", stepped_over, MOVE_MAX, "WITHSCORES"),
        )
        rows = [(id_.decode(), int(score)) for id_, score in pairs(raw)]
        chosen = [id_ for id_, _ in rows if endpoint is None or id_.endswith(f"-{endpoint}")]
        if chosen:
            yield chosen
        if len(rows) < MOVE_MAX:
            return
        last = rows[-1][1]
        left = set(chosen)
        staying = sum(1 for id_, score in rows if score == last and id_ not in left)
        stepped_over = staying + (stepped_over if low == last else 0)
        low = last
