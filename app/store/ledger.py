"""The ledger: what became of every (post, recipient, channel), and sending it again.

A slice's roster says who it went to and never changes; its outcomes say what became of the
webhook deliveries. What a call costs does not depend on how many deliveries there are, but for
the counts: `Ledger.of_post` says what they cost.
"""

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.delivery import FINAL, State
from app.domain.ids import (
    SocketDelivery,
    WebhookDelivery,
    is_post_id,
    parse_delivery_id,
    shard_of_id,
)
from app.store import dead_letters, keys, retries
from app.store.client import Call, Store
from app.store.deliveries import Delivery, Place, read_rows, read_socket, read_webhooks
from app.store.posts import Posts, Progress
from app.store.replies import pairs
from app.wire import AttemptEntry, decode_attempt

STATES = ("pending", "retrying", "delivered", "dead", "suppressed", "cancelled")
SCAN_MAX = 40  # rosters looked at for one page; a page may be short, its `next` goes on
READ_MAX = 8  # of them at once
COUNT_MAX = 128  # rosters counted in one round trip
COUNTED_ANEW_MAX = 1_024  # of a post with more rosters than this, counts may be some seconds old
COUNTS_AGE_MAX_S = 5.0
COUNTS_KEPT_MAX = 256
SOCKETS_TTL_S = 120  # as fan-out gives it
SOCKETS_MAX = 10_000

# Where a page of deliveries ends, "place.index".
POSITION = re.compile(r"(0|[1-9][0-9]{0,14})\.(0|[1-9][0-9]{0,8})")


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    counts: dict[str, int]
    fanned_out: bool
    items: list[Delivery]
    next: str | None


@dataclass(frozen=True, slots=True)
class _Places:
    """All rosters a post can have, in the order in which they were written, by number."""

    post: str
    progress: Progress
    shards: int

    def __len__(self) -> int:
        return self.progress.version * self.progress.slices * self.shards

    def at(self, start: int, stop: int) -> list[Place]:
        places: list[Place] = []
        for number in range(start, min(stop, len(self))):
            slices, shard = divmod(number, self.shards)
            version, slice_ = divmod(slices, self.progress.slices)
            places.append(Place(self.post, version + 1, slice_, shard))
        return places


class Ledger:
    """Reads the ledger, and puts deliveries back on their way."""

    def __init__(
        self,
        store: Store,
        shards: int,
        posts: Posts,
        *,
        changes_max: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._shards = shards
        self._posts = posts
        self._changes_max = changes_max
        self._clock = clock
        self._counted: OrderedDict[str, tuple[float, dict[str, int]]] = OrderedDict()

    async def of_post(
        self,
        post_id: str,
        *,
        state: str | None,
        channel: str | None,
        after: str | None,
        limit: int,
    ) -> DeliveryPage | None:
        """A post's deliveries in the order they were fanned out; None when there is no such post.

        `after` is the `next` of the page before, "place.index". Raises ValueError on a bad one.

        For the counts the store looks at every roster, 30 µs for one of 64 recipients. From
        `COUNTED_ANEW_MAX` rosters on they are kept for `COUNTS_AGE_MAX_S`, so that paging through
        the deliveries of a million does not count that million on every page.
        """
        progress = await self._posts.progress(post_id)
        if progress is None:
            return None
        position = _parse_position(after)
        places = _Places(post_id, progress, self._shards)
        items, next_ = await self._collect(places, position, state, channel, limit)
        counts = await self._counts(post_id, places)
        return DeliveryPage(counts, progress.fanned_out, items, next_)

    async def _collect(
        self,
        places: _Places,
        position: tuple[int, int],
        state: str | None,
        channel: str | None,
        limit: int,
    ) -> tuple[list[Delivery], str | None]:
        """Up to `limit` matching rows from a position on, and where to go on."""
        start, skip = position
        stop = min(start + SCAN_MAX, len(places))
        items: list[Delivery] = []
        for first in range(start, stop, READ_MAX):
            part = places.at(first, min(first + READ_MAX, stop))
            for number, rows in enumerate(await read_rows(self._store, part), first):
                for index, row in enumerate(rows):
                    if (number == start and index < skip) or not _matches(row, state, channel):
                        continue
                    if len(items) == limit:
                        return items, f"{number}.{index}"
                    items.append(row)
        return items, f"{stop}.0" if stop < len(places) else None

    async def _counts(self, post_id: str, places: _Places) -> dict[str, int]:
        """Deliveries by state, both channels: webhooks from the tally, sockets from cursors."""
        if len(places) <= COUNTED_ANEW_MAX:
            return await self._count(post_id, places)
        now = self._clock()
        kept = self._counted.get(post_id)
        if kept is not None and now - kept[0] <= COUNTS_AGE_MAX_S:
            return dict(kept[1])
        counts = await self._count(post_id, places)
        self._counted[post_id] = (now, counts)
        self._counted.move_to_end(post_id)
        while len(self._counted) > COUNTS_KEPT_MAX:
            self._counted.popitem(last=False)
        return dict(counts)

    async def _count(self, post_id: str, places: _Places) -> dict[str, int]:
        counts: dict[str, int] = dict.fromkeys(STATES, 0)
        tallies = await self._store.run_many(
            [("HGETALL", keys.tally(shard, post_id)) for shard in range(self._shards)]
        )
        for raw in tallies:
            _add_tally(counts, raw)
        for start in range(0, len(places), COUNT_MAX):
            calls = [
                Call("count_passed", [place.roster_key, keys.cursors(place.shard)])
                for place in places.at(start, start + COUNT_MAX)
            ]
            for recipients, passed in await self._store.call_many(calls):
                counts["delivered"] += passed
                counts["pending"] += recipients - passed
        return counts

    async def get(self, delivery_id: str) -> tuple[Delivery, list[AttemptEntry]] | None:
        """A delivery and its attempts, the oldest first; None when there is none (any more)."""
        parsed = self._parse(delivery_id)
        match parsed:
            case WebhookDelivery():
                (found,) = await read_webhooks(self._store, [parsed])
                return None if found is None else (found, await self._log_of(parsed))
            case SocketDelivery():
                found = await read_socket(self._store, parsed)
                return None if found is None else (found, [])
            case None:
                return None

    async def _log_of(self, delivery: WebhookDelivery) -> list[AttemptEntry]:
        key = keys.attempts(delivery.shard, delivery.endpoint)
        raws = await self._store.execute("LRANGE", key, 0, -1)
        entries = (decode_attempt(raw) for raw in reversed(raws))
        return [entry for entry in entries if entry.delivery == str(delivery)]

    def _parse(self, delivery_id: str) -> WebhookDelivery | SocketDelivery | None:
        parsed = parse_delivery_id(delivery_id)
        if parsed is None or not is_post_id(parsed.post) or parsed.shard >= self._shards:
            return None
        return parsed

    # Sending again

    async def retry(self, delivery_id: str, now_ms: int) -> bool:
        """Sends a delivery again now, whatever its state; False when there is no such delivery.

        A socket delivery is pushed again to the recipient's open sockets.
        """
        parsed = self._parse(delivery_id)
        match parsed:
            case WebhookDelivery():
                (found,) = await read_webhooks(self._store, [parsed])
                if found is not None:
                    await self.reschedule([delivery_id], now_ms)
            case SocketDelivery():
                found = await read_socket(self._store, parsed)
                if found is not None:
                    await self._push_again(parsed.shard, found)
            case None:
                return False
        return found is not None

    async def _push_again(self, shard: int, delivery: Delivery) -> None:
        await self._store.call(
            "push_again",
            [keys.routes(shard)],
            [
                *(keys.tag(shard), delivery.recipient, delivery.offset),
                *(SOCKETS_MAX, SOCKETS_TTL_S),
            ],
        )

    async def reschedule(
        self, ids: Sequence[str], now_ms: int, *, start_ms: int = 0, gap_ms: float = 0
    ) -> int:
        """Puts webhook deliveries back on their way: see `retries.reschedule`."""
        return await retries.reschedule(
            self._store,
            ids,
            now_ms,
            changes_max=self._changes_max,
            start_ms=start_ms,
            gap_ms=gap_ms,
        )

    async def replay(
        self, *, endpoint: str | None, since_ms: int | None, now_ms: int, gap_ms: float
    ) -> int:
        """Schedules dead letters again, paced per shard; returns how many."""
        shards = range(self._shards) if endpoint is None else (shard_of_id(endpoint),)
        counts = [
            await self._reschedule_set(
                keys.dead(shard), endpoint, since_ms, now_ms, now_ms=now_ms, gap_ms=gap_ms
            )
            for shard in shards
        ]
        return sum(counts)

    async def recover(
        self, endpoint: str, since_ms: int, until_ms: int, now_ms: int, gap_ms: float
    ) -> int:
        """Schedules all that was parked or died for an endpoint in a time; returns how many."""
        shard = shard_of_id(endpoint)
        counts = [
            await self._reschedule_set(
                key, endpoint, since_ms, until_ms, now_ms=now_ms, gap_ms=gap_ms
            )
            for key in (keys.parked(shard, endpoint), keys.dead(shard))
        ]
        return sum(counts)

    async def _reschedule_set(
        self,
        key: bytes,
        endpoint: str | None,
        since_ms: int | None,
        until_ms: int,
        *,
        now_ms: int,
        gap_ms: float,
    ) -> int:
        return await retries.reschedule_set(
            self._store,
            key,
            endpoint=endpoint,
            since_ms=since_ms,
            until_ms=until_ms,
            now_ms=now_ms,
            gap_ms=gap_ms,
            changes_max=self._changes_max,
        )

    # Dead letters

    async def dead_letters(
        self, after: str | None, limit: int, endpoint: str | None = None
    ) -> tuple[list[Delivery], str | None]:
        """Dead letters, the newest first, and where to go on. Raises ValueError on a bad `after`.

        With an endpoint a page may be short: it ends where enough was looked at.
        """
        shards = range(self._shards) if endpoint is None else (shard_of_id(endpoint),)
        position = dead_letters.parse_position(after)
        found, next_ = await dead_letters.read(self._store, shards, position, limit, endpoint)
        rows = await read_webhooks(self._store, [letter.delivery for letter in found])
        return [row for row in rows if row is not None], next_ and str(next_)


def _add_tally(counts: dict[str, int], raw: Sequence[Any]) -> None:
    """What is in none of the states told apart there is pending."""
    tally = {name: int(value) for name, value in pairs(raw)}
    open_ = tally.get(b"webhooks", 0)
    for state in (State.RETRYING, *FINAL):
        number = tally.get(state.value.encode(), 0)
        counts[state.word] += number
        open_ -= number
    counts["pending"] += open_


def _parse_position(after: str | None) -> tuple[int, int]:
    if after is None:
        return 0, 0
    found = POSITION.fullmatch(after)
    if found is None:
        raise ValueError("not a position in a list of deliveries")
    return int(found[1]), int(found[2])


def _matches(delivery: Delivery, state: str | None, channel: str | None) -> bool:
    return (state is None or delivery.state == state) and (
        channel is None or delivery.channel == channel
    )
