"""Inboxes: what each user was sent, in the order of contiguous offsets, and how far they got."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.post import Event
from app.domain.shard import shard_of
from app.store import keys
from app.store.client import Call, Store
from app.store.durability import Ack
from app.wire import decode_event, encode_cursors

Ask = tuple[str, int | None, int]


@dataclass(frozen=True, slots=True)
class InboxPage:
    """A part of an inbox.

    Offsets 1 … `trimmed` are gone, `head` is the newest offset (0 for an empty inbox), `cursor`
    the highest acknowledged, `after` what was asked for. `events[i]` has the offset
    `first_offset + i`.
    """

    trimmed: int
    head: int
    cursor: int
    after: int
    events: tuple[Event, ...]

    @property
    def shows_newest(self) -> bool:
        return bool(self.events) and self.first_offset + len(self.events) > self.head

    @property
    def first_offset(self) -> int:
        return max(self.after, self.trimmed) + 1


class Inbox:
    """The inboxes and cursors of all users.

    With an `ack` above memory nobody is shown an event that could still be lost: another one would
    get its offset then, which whoever saw the first would never ask for.
    """

    def __init__(self, store: Store, shards: int, ack: Ack = "memory") -> None:
        self._store = store
        self._shards = shards
        self._ack: Ack = ack

    async def read(self, user: str, after: int | None, limit: int) -> InboxPage:
        """Up to `limit` events after an offset; None starts at the acknowledged cursor."""
        (page,) = await self.read_many([(user, after, limit)])
        return page

    async def read_many(self, asks: Sequence[Ask]) -> list[InboxPage]:
        """Several users' pages in one round trip: (user, after, limit) each."""
        calls: list[Call] = []
        for user, after, limit in asks:
            shard = shard_of(user, self._shards)
            named = [keys.inbox(shard, user), keys.trimmed(shard), keys.cursors(shard)]
            calls.append(Call("read_inbox", named, [user, "" if after is None else after, limit]))
        pages = [_page(answer) for answer in await self._store.call_many(calls)]
        newest = [
            call.keys[0] for call, page in zip(calls, pages, strict=True) if page.shows_newest
        ]
        await self._store.settle(newest, self._ack)
        return pages

    async def advance(self, cursors: Mapping[str, int]) -> dict[str, int]:
        """Moves cursors forward, never back and never past the head; returns where they stand."""
        by_shard: dict[int, list[str]] = defaultdict(list)
        for user in cursors:
            by_shard[shard_of(user, self._shards)].append(user)
        calls: list[Call] = []
        for shard, users in by_shard.items():
            named = [keys.cursors(shard), keys.trimmed(shard), keys.repushes(shard)]
            packed = encode_cursors(users, [cursors[user] for user in users])
            calls.append(Call("advance_cursors", named, [keys.tag(shard), packed]))
        stand: dict[str, int] = {}
        answers = await self._store.call_many(calls)
        for users, offsets in zip(by_shard.values(), answers, strict=True):
            stand.update(zip(users, offsets, strict=True))
        return stand

    async def note_repushes(self, counts: Mapping[str, tuple[int, int]]) -> None:
        """Keeps how often a user's oldest unacknowledged offset was pushed: (offset, attempts)."""
        await self._store.run_many(
            [
                ("HSET", keys.repushes(shard_of(user, self._shards)), user, f"{offset}:{attempts}")
                for user, (offset, attempts) in counts.items()
            ]
        )


def _page(answer: Any) -> InboxPage:
    trimmed, head, cursor, after, entries = answer
    return InboxPage(trimmed, head, cursor, after, tuple(map(decode_event, entries)))
