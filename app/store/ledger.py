"""The ledger: what became of every (post, recipient, channel), and sending it again.

A slice's roster says who it went to and never changes; its outcomes say what became of the
webhook deliveries, and one that is not there is pending. A socket delivery has no record at all:
its state follows from the recipient's cursor and the offset in the roster.
"""

from collections.abc import AsyncIterator, Sequence
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
from app.store import keys
from app.store.client import Call, Store
from app.store.posts import Posts
from app.store.replies import pairs
from app.wire import (
    AttemptEntry,
    Record,
    Roster,
    decode_attempt,
    decode_record,
    decode_roster,
    encode_time,
)

STATES = ("pending", "retrying", "delivered", "dead", "suppressed", "cancelled")
SCAN_MAX = 40  # rosters looked at for one page; a page may be short, its `next` goes on
MOVE_MAX = 500  # deliveries put back in one call


@dataclass(frozen=True, slots=True)
class Delivery:
    """One row of the ledger. `state` is the API's word; times in milliseconds, None: not known."""

    id: str
    post: str
    version: int
    recipient: str
    offset: int
    channel: str
    endpoint: str | None
    state: str
    parked: bool
    attempts: int
    last_status: int | None
    last_error: str | None
    next_attempt_at_ms: int | None
    updated_at_ms: int | None


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    counts: dict[str, int]
    fanned_out: bool
    items: list[Delivery]
    next: str | None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a roster stands: post, version, slice and shard."""

    post: str
    version: int
    slice: int
    shard: int

    @property
    def roster_key(self) -> bytes:
        return keys.roster(self.shard, self.post, self.version, self.slice)

    @property
    def outcomes_key(self) -> bytes:
        return keys.outcomes(self.shard, self.post, self.version, self.slice)


class Ledger:
    """Reads the ledger, and puts deliveries back on their way."""

    def __init__(self, store: Store, shards: int, posts: Posts, *, changes_max: int) -> None:
        self._store = store
        self._shards = shards
        self._posts = posts
        self._changes_max = changes_max

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
        """
        progress = await self._posts.progress(post_id)
        if progress is None:
            return None
        start, skip = _parse_position(after)
        places = [
            _Place(post_id, version, slice_, shard)
            for version in range(1, progress.version + 1)
            for slice_ in range(progress.slices)
            for shard in range(self._shards)
        ]
        items: list[Delivery] = []
        position: str | None = None
        for index in range(start, min(start + SCAN_MAX, len(places))):
            rows = await self._rows(places[index])
            for row, delivery in enumerate(rows):
                if index == start and row < skip:
                    continue
                if not _matches(delivery, state, channel):
                    continue
                if len(items) == limit:
                    position = f"{index}.{row}"
                    break
                items.append(delivery)
            if position:
                break
        else:
            if start + SCAN_MAX < len(places):
                position = f"{start + SCAN_MAX}.0"
        counts = await self.counts(post_id, places)
        return DeliveryPage(counts, progress.fanned_out, items, position)

    async def counts(self, post_id: str, places: Sequence[_Place]) -> dict[str, int]:
        """Deliveries by state, both channels: webhooks from the tally, sockets from cursors."""
        counts: dict[str, int] = dict.fromkeys(STATES, 0)
        tallies = await self._store.run_many(
            [("HGETALL", keys.tally(shard, post_id)) for shard in range(self._shards)]
        )
        for raw in tallies:
            tally = {name: int(value) for name, value in pairs(raw)}
            open_ = tally.get(b"webhooks", 0)
            for letter in (State.RETRYING, *FINAL):
                number = tally.get(letter.value.encode(), 0)
                counts[letter.word] += number
                open_ -= number
            counts["pending"] += open_
        async for roster, cursors in self._cursors(places):
            passed = sum(
                cursor >= offset for cursor, offset in zip(cursors, roster.offsets, strict=True)
            )
            counts["delivered"] += passed
            counts["pending"] += len(roster.users) - passed
        return counts

    async def _cursors(self, places: Sequence[_Place]) -> AsyncIterator[tuple[Roster, list[int]]]:
        """Each roster that exists with its recipients' cursors, some dozens a round trip."""
        for start in range(0, len(places), SCAN_MAX):
            part = places[start : start + SCAN_MAX]
            raws = await self._store.run_many([("GET", place.roster_key) for place in part])
            found = [
                (place, decode_roster(raw)) for place, raw in zip(part, raws, strict=True) if raw
            ]
            answers = await self._store.run_many(
                [("HMGET", keys.cursors(place.shard), *roster.users) for place, roster in found]
            )
            for (_, roster), cursors in zip(found, answers, strict=True):
                yield roster, [int(cursor or 0) for cursor in cursors]

    async def _rows(self, place: _Place) -> list[Delivery]:
        raw, outcomes = await self._store.run_many(
            [("GET", place.roster_key), ("HGETALL", place.outcomes_key)]
        )
        if raw is None:
            return []
        roster = decode_roster(raw)
        cursors, repushes = await self._store.run_many(
            [
                ("HMGET", keys.cursors(place.shard), *roster.users),
                ("HMGET", keys.repushes(place.shard), *roster.users),
            ]
        )
        records = {id_.decode(): decode_record(value) for id_, value in pairs(outcomes)}
        rows: list[Delivery] = []
        for index, (user, offset, endpoints) in enumerate(
            zip(roster.users, roster.offsets, roster.endpoints, strict=True)
        ):
            pushes = _pushes(repushes[index], offset)
            rows.append(_socket(place, index, user, offset, int(cursors[index] or 0), pushes))
            rows += [
                _webhook(place, endpoint, user, offset, records.get(endpoint))
                for endpoint in endpoints
            ]
        return rows

    async def get(self, delivery_id: str) -> tuple[Delivery, list[AttemptEntry]] | None:
        """A delivery and its attempts, the oldest first; None when there is none (any more)."""
        parsed = parse_delivery_id(delivery_id)
        place = self._place(parsed)
        if parsed is None or place is None:
            return None
        found = next((row for row in await self._rows(place) if row.id == delivery_id), None)
        if found is None:
            return None
        log: list[AttemptEntry] = []
        if isinstance(parsed, WebhookDelivery):
            raws = await self._store.execute(
                "LRANGE", keys.attempts(place.shard, parsed.endpoint), 0, -1
            )
            entries = (decode_attempt(raw) for raw in reversed(raws))
            log = [entry for entry in entries if entry.delivery == delivery_id]
        return found, log

    def _place(self, parsed: WebhookDelivery | SocketDelivery | None) -> _Place | None:
        if parsed is None or not is_post_id(parsed.post) or parsed.shard >= self._shards:
            return None
        return _Place(parsed.post, parsed.version, parsed.slice, parsed.shard)

    async def retry(self, delivery_id: str, now_ms: int) -> bool:
        """Sends a delivery again now, whatever its state; False when there is no such delivery.

        A socket delivery is pushed again to the recipient's open sockets.
        """
        found = await self.get(delivery_id)
        if found is None:
            return False
        if found[0].channel == "webhook":
            await self.reschedule([delivery_id], now_ms)
        else:
            await self._push_again(found[0])
        return True

    async def _push_again(self, delivery: Delivery) -> None:
        """Tells every gateway that holds a socket of the recipient to push the offset again."""
        parsed = parse_delivery_id(delivery.id)
        assert isinstance(parsed, SocketDelivery)
        shard = parsed.shard
        route = await self._store.execute("HGET", keys.routes(shard), delivery.recipient)
        nodes = [word[1:] for word in (route or b"").decode().split() if word.startswith("@")]
        await self._store.run_many(
            [
                (
                    *("XADD", keys.sockets(shard, node), "NOMKSTREAM", "*"),
                    *("u", delivery.recipient, "n", delivery.offset),
                )
                for node in nodes
            ]
        )

    async def reschedule(
        self, ids: Sequence[str], now_ms: int, *, start_ms: int = 0, gap_ms: float = 0
    ) -> int:
        """Puts webhook deliveries back on their way: at once, or from `start_ms` on, spread out.

        Returns how many; one that is on its way already is not counted.
        """
        by_shard: dict[int, list[str]] = {}
        for id_ in ids:
            by_shard.setdefault(shard_of_id(id_), []).append(id_)
        calls = [
            Call(
                "reschedule",
                [
                    keys.retries(shard),
                    keys.dead(shard),
                    keys.redeliveries(shard),
                    keys.changes(shard),
                ],
                [
                    keys.tag(shard),
                    self._changes_max,
                    start_ms,
                    round(gap_ms),
                    encode_time(now_ms),
                    *members,
                ],
            )
            for shard, members in by_shard.items()
        ]
        return sum(await self._store.call_many(calls))

    async def dead_letters(
        self, after: str | None, limit: int, endpoint: str | None = None
    ) -> tuple[list[Delivery], str | None]:
        """Dead letters, the newest first. Raises ValueError on a bad `after`."""
        found: list[tuple[int, str]] = []
        before = _parse_dead_position(after)
        shards = range(self._shards) if endpoint is None else (shard_of_id(endpoint),)
        for shard in shards:
            found += await self._dead_of(shard, before, limit + 1, endpoint)
        found.sort(reverse=True)
        page = found[:limit]
        next_ = f"{page[-1][0]}.{page[-1][1]}" if len(found) > limit else None
        deliveries = [await self.get(id_) for _, id_ in page]
        return [delivery[0] for delivery in deliveries if delivery], next_

    async def _dead_of(
        self, shard: int, before: tuple[int, str] | None, limit: int, endpoint: str | None
    ) -> list[tuple[int, str]]:
        high: Any = "+inf" if before is None else before[0]
        found: list[tuple[int, str]] = []
        skip = 0
        while len(found) < limit:
            raw = await self._store.execute(
                *("ZRANGE", keys.dead(shard), high, "-inf", "BYSCORE", "REV"),
                *("LIMIT", skip, MOVE_MAX, "WITHSCORES"),
            )
            rows = [(int(score), id_.decode()) for id_, score in pairs(raw)]
            for row in rows:
                if before is not None and row >= before:
                    continue
                if endpoint is None or row[1].endswith(endpoint):
                    found.append(row)
            if len(rows) < MOVE_MAX:
                break
            skip += MOVE_MAX
        return found[:limit]

    async def replay(
        self, *, endpoint: str | None, since_ms: int | None, now_ms: int, gap_ms: float
    ) -> int:
        """Schedules dead letters again, paced per shard; returns how many."""
        shards = range(self._shards) if endpoint is None else (shard_of_id(endpoint),)
        return sum(
            [
                await self._replay_set(keys.dead(shard), endpoint, since_ms, now_ms, now_ms, gap_ms)
                for shard in shards
            ]
        )

    async def recover(
        self, endpoint: str, since_ms: int, until_ms: int, now_ms: int, gap_ms: float
    ) -> int:
        """Schedules all that was parked or died for an endpoint in a time; returns how many."""
        shard = shard_of_id(endpoint)
        counts = [
            await self._replay_set(key, endpoint, since_ms, until_ms, now_ms, gap_ms)
            for key in (keys.parked(shard, endpoint), keys.dead(shard))
        ]
        return sum(counts)

    async def _replay_set(
        self,
        key: bytes,
        endpoint: str | None,
        since_ms: int | None,
        until_ms: int,
        now_ms: int,
        gap_ms: float,
    ) -> int:
        """Walks a set by score. What is rescheduled leaves it, what is not is stepped over."""
        scheduled, stay = 0, 0
        while True:
            raw = await self._store.execute(
                *("ZRANGE", key, since_ms or "-inf", until_ms, "BYSCORE"),
                *("LIMIT", stay, MOVE_MAX),
            )
            ids = [id_.decode() for id_ in raw]
            chosen = [id_ for id_ in ids if endpoint is None or id_.endswith(endpoint)]
            start_ms = now_ms + round(gap_ms * scheduled)
            moved = await self.reschedule(chosen, now_ms, start_ms=start_ms, gap_ms=gap_ms)
            scheduled += moved
            stay += len(ids) - moved
            if len(ids) < MOVE_MAX:
                return scheduled


def _parse_position(after: str | None) -> tuple[int, int]:
    if after is None:
        return 0, 0
    place, _, row = after.partition(".")
    if not (place.isdecimal() and row.isdecimal()):
        raise ValueError("not a position in a list of deliveries")
    return int(place), int(row)


def _parse_dead_position(after: str | None) -> tuple[int, str] | None:
    if after is None:
        return None
    at_ms, _, id_ = after.partition(".")
    if not at_ms.isdecimal() or not isinstance(parse_delivery_id(id_), WebhookDelivery):
        raise ValueError("not a position in the list of dead letters")
    return int(at_ms), id_


def _matches(delivery: Delivery, state: str | None, channel: str | None) -> bool:
    return (state is None or delivery.state == state) and (
        channel is None or delivery.channel == channel
    )


def _pushes(raw: bytes | None, offset: int) -> int:
    """How often an offset was pushed beyond the first time, where a gateway noted it."""
    if raw is None:
        return 0
    noted, _, attempts = raw.partition(b":")
    return int(attempts) if int(noted) == offset else 0


def _socket(
    place: _Place, index: int, user: str, offset: int, cursor: int, pushes: int
) -> Delivery:
    delivered = cursor >= offset
    return Delivery(
        id=str(SocketDelivery(place.post, place.version, place.slice, place.shard, index)),
        post=place.post,
        version=place.version,
        recipient=user,
        offset=offset,
        channel="socket",
        endpoint=None,
        state="delivered" if delivered else "pending",
        parked=False,
        attempts=max(pushes, 1 if delivered else 0),
        last_status=None,
        last_error=None,
        next_attempt_at_ms=None,
        updated_at_ms=None,
    )


def _webhook(
    place: _Place, endpoint: str, user: str, offset: int, record: Record | None
) -> Delivery:
    seen = record or Record(State.PENDING, 0)
    return Delivery(
        id=str(WebhookDelivery(place.post, place.version, place.slice, endpoint)),
        post=place.post,
        version=place.version,
        recipient=user,
        offset=offset,
        channel="webhook",
        endpoint=endpoint,
        state=seen.state.word,
        parked=seen.state.is_parked,
        attempts=seen.attempts,
        last_status=seen.status or None,
        last_error=seen.error or None,
        next_attempt_at_ms=seen.due_ms or None if not seen.state.is_final else None,
        updated_at_ms=seen.updated_at_ms or None,
    )
