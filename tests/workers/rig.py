"""Workers on a real store and with real receivers, and what there is to see of what they do."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

from app.clock import now_ms
from app.domain.delivery import FINAL, State
from app.domain.post import Audience, Event, EventKind, Post
from app.domain.shard import shard_of
from app.sealing import Sealer
from app.settings import Settings
from app.store import keys
from app.store.client import Store
from app.store.endpoints import Endpoint, Endpoints
from app.store.graph import EdgeKind, Graph
from app.store.inbox import Inbox
from app.store.ledger import Ledger
from app.store.posts import Posts
from app.store.replies import pairs
from tests.store.places import Found, check_places
from tests.store.service import fan_out, finish
from tests.wait import wait_until
from workers.supervisor import ROLES, Worker

SHARDS = 4
SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
SETTINGS: dict[str, Any] = {
    "allow_cidrs": "127.0.0.0/8",
    "retry_schedule_s": "0.1,0.1",
    "retry_jitter": 0,
    "request_deadline_s": 2,
    "defer_s": 0.05,
    "outcome_wait_ms": 1,
    "pause_s": 0.1,
    "pause_max_s": 0.1,
    "lease_s": 2,
    "drain_timeout_s": 5,
    "drain_gap_ms": 1,
}


def users_of(shard: int, number: int) -> list[str]:
    """User ids that lie in one shard."""
    names = (f"user{n}" for n in count())
    return list(islice((name for name in names if shard_of(name, SHARDS) == shard), number))


@dataclass(frozen=True, slots=True)
class Rig:
    """The store's parts as an api uses them, and workers on it."""

    store: Store
    sealer: Sealer
    graph: Graph
    posts: Posts
    inbox: Inbox
    endpoints: Endpoints
    ledger: Ledger

    @classmethod
    def on(cls, store: Store) -> "Rig":
        sealer = Sealer(bytes(32))
        posts = Posts(
            store,
            SHARDS,
            retention_s=3_600,
            backlog_max=10_000,
            versions_max=10,
            idempotency_ttl_s=600,
            ack="memory",
        )
        return cls(
            store,
            sealer,
            Graph(store, SHARDS, friends_max=10_000, follows_max=10_000, blocks_max=10_000),
            posts,
            Inbox(store, SHARDS),
            Endpoints(store, SHARDS, sealer=sealer, endpoints_max=16, changes_max=1_000),
            Ledger(store, SHARDS, posts, changes_max=1_000),
        )

    def worker(self, through: Any = None, roles: frozenset[str] = ROLES, **settings: Any) -> Worker:
        """A worker that reaches the store through something else, perhaps."""
        made = Settings(**{**SETTINGS, "retention_s": 3_600, **settings})
        return Worker(made, through or self.store, SHARDS, self.sealer, roles=roles)

    @asynccontextmanager
    async def working(self, through: Any = None, **settings: Any) -> AsyncIterator[Worker]:
        """A worker at work, which has taken all shards that nobody else has; drained at the end."""
        worker = self.worker(through, **settings)
        stop = asyncio.Event()
        run = asyncio.create_task(worker.run(stop), name="worker")
        try:
            await wait_until(lambda: run.done() or worker.unready() is None)
            yield worker
        finally:
            stop.set()
            async with asyncio.timeout(20):
                await run

    # What calls do

    async def befriend(self, author: str, *friends: str) -> None:
        for friend in friends:
            await self.graph.add(EdgeKind.FRIEND, author, friend)

    async def register(self, user: str, url: str, **options: Any) -> Endpoint:
        return await self.endpoints.create(
            user=user,
            url=url,
            types=options.get("types", ("*",)),
            method=options.get("method", "POST"),
            headers=options.get("headers", {}),
            rate_per_s=options.get("rate_per_s"),
            retry_schedule_s=options.get("retry_schedule_s"),
            description=None,
            secret=options.get("secret", SECRET),
            now_ms=now_ms(),
            verify=options.get("verify", False),
        )

    async def fanned_out(self, friends: Sequence[str]) -> Post:
        """A new post that has been fanned out, without a worker."""
        post = await self.post("ann")
        event = Event(post.id, 1, EventKind.CREATED)
        await fan_out(self.store, event, friends, shards=SHARDS, inbox_max=1_000, inbox_keep=800)
        key = keys.posts(shard_of("ann", SHARDS))
        await self.store.execute("XTRIM", key, "MAXLEN", 0)
        await finish(self.store, event, 1)
        return post

    async def post(self, author: str, data: bytes = b'{"text":"hello"}', **cut: Any) -> Post:
        accepted = await self.posts.accept(
            author, "post", data, Audience(**cut), idempotency=None, now_ms=now_ms()
        )
        return accepted.post

    # What there is to see

    async def places(self) -> dict[str, Found]:
        """Where each webhook delivery is; fails when one is in no place, or in two."""
        return await check_places(self.store, SHARDS)

    async def states(self, post: Post) -> dict[str, int]:
        """How many webhook deliveries of a post are in each state, by its tallies."""
        states: Counter[str] = Counter()
        for shard in range(SHARDS):
            raw = await self.store.execute("HGETALL", keys.tally(shard, post.id))
            tally = {name.decode(): int(value) for name, value in pairs(raw)}
            open_ = tally.get("webhooks", 0)
            for state in (State.RETRYING, *FINAL):
                states[state.word] += tally.get(state.value, 0)
                open_ -= tally.get(state.value, 0)
            states["pending"] += open_
        return {state: number for state, number in states.items() if number}

    async def settled(self, post: Post, timeout_s: float = 5.0, **states: int) -> None:
        """Waits until the webhook deliveries of a post are in these states."""
        found: dict[str, int] = {}

        async def are_there() -> bool:
            found.clear()
            found.update(await self.states(post))
            return found == states

        try:
            await wait_until(are_there, timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{found} instead of {states}") from error

    async def inboxes(self, users: Sequence[str]) -> dict[str, list[str]]:
        """The events of each user, as their inbox has them."""
        pages = [(user, await self.inbox.read(user, after=0, limit=500)) for user in users]
        return {user: [f"{e.kind.value}{e.version}" for e in page.events] for user, page in pages}
