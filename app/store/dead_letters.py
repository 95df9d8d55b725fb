"""Dead letters: deliveries that were given up, listed the newest first, in bounded parts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.ids import WEBHOOK_DELIVERY_ID, WebhookDelivery, parse_delivery_id
from app.store import keys
from app.store.client import Store
from app.store.replies import pairs

READ_MAX = 500  # looked at at once
SCAN_MAX = 20  # times that, for one page

# Where a page ends: when that delivery died, in ms, and its id.
POSITION = re.compile(rf"(0|[1-9][0-9]{{0,14}})\.({WEBHOOK_DELIVERY_ID.pattern})")


@dataclass(frozen=True, slots=True, order=True)
class DeadLetter:
    """When a delivery died, and its id: by these two they are in order."""

    at_ms: int
    id: str

    def __str__(self) -> str:
        """A position in the list, for whoever wants to go on after this one."""
        return f"{self.at_ms}.{self.id}"

    @property
    def delivery(self) -> WebhookDelivery:
        parsed = parse_delivery_id(self.id)
        assert isinstance(parsed, WebhookDelivery)  # nothing else can die
        return parsed

    def is_for(self, endpoint: str | None) -> bool:
        return endpoint is None or self.id.endswith(f"-{endpoint}")


def parse_position(text: str | None) -> DeadLetter | None:
    """Raises ValueError."""
    if text is None:
        return None
    found = POSITION.fullmatch(text)
    if found is None:
        raise ValueError("not a position in the list of dead letters")
    return DeadLetter(int(found[1]), found[2])


async def read(
    store: Store,
    shards: Sequence[int],
    after: DeadLetter | None,
    limit: int,
    endpoint: str | None,
) -> tuple[list[DeadLetter], DeadLetter | None]:
    """Up to `limit`, those of an endpoint or all, and where to go on.

    An endpoint's are looked for in its one shard; there may be few where enough was looked at.
    """
    found: list[DeadLetter] = []
    reached: DeadLetter | None = None
    for shard in shards:
        of_shard, reached = await _read_shard(store, shard, after, limit + 1, endpoint)
        found += of_shard
    found.sort(reverse=True)
    page = found[:limit]
    return page, page[-1] if len(found) > limit else reached


async def _read_shard(
    store: Store, shard: int, after: DeadLetter | None, limit: int, endpoint: str | None
) -> tuple[list[DeadLetter], DeadLetter | None]:
    """Up to `limit`, and where the search was given up, if it was."""
    key = keys.dead(shard)
    size = limit if endpoint is None else READ_MAX
    found: list[DeadLetter] = []
    position = after
    for _ in range(SCAN_MAX):
        start = await _rank_after(store, key, position)
        raw = await store.execute("ZRANGE", key, start, start + size - 1, "REV", "WITHSCORES")
        for id_, score in pairs(raw):
            position = DeadLetter(int(score), id_.decode())
            if position.is_for(endpoint):
                found.append(position)
                if len(found) == limit:
                    return found, None
        if len(raw) < 2 * size:
            return found, None
    return found, position


async def _rank_after(store: Store, key: bytes, position: DeadLetter | None) -> int:
    """How many stand before what comes after a position, the newest first.

    Not by their time alone: a batch of thousands dies in one millisecond.
    """
    if position is None:
        return 0
    at_ms, id_ = position.at_ms, position.id.encode()
    rank, score, low, high = await store.run_many(
        [
            ("ZREVRANK", key, id_),
            ("ZSCORE", key, id_),
            ("ZCOUNT", key, f"({at_ms}", "+inf"),
            ("ZCOUNT", key, at_ms, "+inf"),
        ]
    )
    if score is not None and int(score) == at_ms:
        return rank + 1
    while low < high:  # it is gone: by halves to where it would stand among those of its time
        middle = (low + high) // 2
        there = await store.execute("ZRANGE", key, middle, middle, "REV")
        if there and there[0] >= id_:
            low = middle + 1
        else:
            high = middle
    return low
