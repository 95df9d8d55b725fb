"""What is around the gateway in place of the store: inboxes that are numbers, one post for all."""

import asyncio
import random
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from app.domain.post import Event, EventKind, Post
from app.domain.shard import shard_of
from app.store.inbox import InboxPage
from app.store.nodes import OnPushes, Push
from scripts.fuzz_sockets.frames import USERS

SHARDS: Final = 8
KEPT: Final = 40  # entries of an inbox; those before are trimmed
EVENT: Final = Event("01k2v3w4x5y6z7a800", 1, EventKind.CREATED)
POST: Final = Post(EVENT.post, "ann", "post", 1, 1_000, 1_000, b'{"text":"%s, %d%%"}')


class Clock:
    """Seconds that pass when somebody lets them."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Inbox:
    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        self.heads = dict.fromkeys(USERS, 20)
        self.cursors = dict.fromkeys(USERS, 0)

    def head(self, user: str) -> int:
        return self.heads[user]

    async def read_many(self, asks: Sequence[tuple[str, int | None, int]]) -> list[InboxPage]:
        return [self._page(*ask) for ask in asks]

    def _page(self, user: str, after: int | None, limit: int) -> InboxPage:
        head, cursor = self.heads[user], self.cursors[user]
        after, trimmed = cursor if after is None else after, max(0, head - KEPT)
        count = min(limit, max(0, head - max(after, trimmed)))
        return InboxPage(trimmed, head, cursor, after, (EVENT,) * count)

    async def advance(self, cursors: Mapping[str, int]) -> dict[str, int]:
        for user, offset in cursors.items():
            if offset > self.heads[user]:
                raise AssertionError(
                    f"{user} is at {self.heads[user]}, and {offset} was dealt with"
                )
            self.cursors[user] = max(self.cursors[user], offset)
        return dict(cursors)

    async def note_repushes(self, counts: Mapping[str, tuple[int, int]]) -> None: ...


class Bodies:
    async def get(self, events: Collection[Event]) -> dict[str, Post | None]:
        return {event.post: POST for event in events}


class Node:
    """Takes note of nothing: who is here shows in the gateway's own books."""

    async def join(self, users: Collection[str]) -> None: ...
    async def leave(self, users: Collection[str]) -> None: ...
    async def beat(self) -> None: ...
    async def close(self) -> None: ...
    async def run(self, on_pushes: OnPushes, stop: asyncio.Event) -> None: ...


def pushes(inbox: Inbox, chance: random.Random) -> list[Push]:
    """One read of the streams: events in their turn, late, lost or asked for once more."""
    return [_push(inbox, chance) for _ in range(chance.choice((1, 1, 1, 3, 12)))]


def _push(inbox: Inbox, chance: random.Random) -> Push:
    user = chance.choice(USERS)
    shard, draw, head = shard_of(user, SHARDS), chance.random(), inbox.heads[user]
    if draw < 0.03:  # entries were lost
        inbox.heads[user] += chance.randint(0, 3)
        return Push(shard, None, ())
    if draw < 0.13:  # somebody asks for it once more
        return Push(shard, None, ((user, chance.randint(1, head)),))
    if draw < 0.20:  # late
        return Push(shard, EVENT, ((user, chance.randint(1, head)),))
    if draw < 0.25:  # what came before it was lost
        inbox.heads[user] += 1
    inbox.heads[user] += 1
    return Push(shard, EVENT, ((user, inbox.heads[user]),))
