"""The store's parts with small limits, and what workers do with the store, step by step."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

from app.domain.delivery import State
from app.domain.ids import parse_delivery_id, shard_of_id
from app.domain.post import Audience, Event, EventKind
from app.domain.shard import shard_of
from app.sealing import Sealer
from app.store import keys
from app.store.client import Store
from app.store.endpoints import Endpoint, Endpoints
from app.store.graph import Graph
from app.store.inbox import Inbox
from app.store.ledger import Ledger
from app.store.posts import Posts
from app.wire import (
    Record,
    encode_batch,
    encode_event,
    encode_record,
    encode_time,
    encode_users,
)
from workers.outcomes import log_ttl_s

SHARDS = 4
RETENTION_S = 3_600
NOW_MS = 1_800_000_000_000
ANYBODY = Audience()
NO_HEADERS: Mapping[str, str] = {}


def users_of(shard: int, number: int, shards: int = SHARDS) -> list[str]:
    """User ids that lie in one shard."""
    names = (f"user{n}" for n in count())
    return list(islice((name for name in names if shard_of(name, shards) == shard), number))


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of one store."""

    store: Store
    posts: Posts
    graph: Graph
    inbox: Inbox
    endpoints: Endpoints
    ledger: Ledger

    @classmethod
    def on(cls, store: Store, shards: int = SHARDS, **limits: Any) -> "Service":
        posts = Posts(
            store,
            shards,
            retention_s=limits.get("retention_s", RETENTION_S),
            backlog_max=limits.get("backlog_max", 1_000),
            versions_max=limits.get("versions_max", 4),
            idempotency_ttl_s=600,
            ack=limits.get("ack", "memory"),
        )
        return cls(
            store,
            posts,
            Graph(store, shards, friends_max=3, follows_max=3, blocks_max=3),
            Inbox(store, shards),
            Endpoints(
                store,
                shards,
                sealer=limits.get("sealer", Sealer(bytes(32))),
                endpoints_max=limits.get("endpoints_max", 16),
                changes_max=100,
            ),
            Ledger(
                store,
                shards,
                posts,
                changes_max=100,
                **{name: limits[name] for name in ("clock",) if name in limits},
            ),
        )

    async def endpoint(
        self,
        user: str,
        types: tuple[str, ...] = ("*",),
        headers: Mapping[str, str] = NO_HEADERS,
        *,
        url: str = "https://example.com/hook",
        verify: bool = False,
    ) -> Endpoint:
        return await self.endpoints.create(
            user=user,
            url=url,
            types=types,
            method="POST",
            headers=headers,
            rate_per_s=None,
            retry_schedule_s=None,
            description=None,
            secret="whsec_" + "a" * 32,
            now_ms=NOW_MS,
            verify=verify,
        )

    async def post(self, author: str = "ann", audience: Audience = ANYBODY) -> Event:
        """A new post's first event."""
        accepted = await self.posts.accept(
            author, "post", b"{}", audience, idempotency=None, now_ms=NOW_MS
        )
        return Event(accepted.post.id, 1, EventKind.CREATED)


async def fan_out(
    store: Store,
    event: Event,
    users: Sequence[str],
    *,
    slice_: int = 0,
    type_: str = "post",
    shards: int = SHARDS,
    retention_s: int = RETENTION_S,
    inbox_max: int = 10,
    inbox_keep: int = 8,
    sockets_max: int = 1_000,
) -> tuple[int, int]:
    """Fans one slice out; returns recipients and webhook deliveries."""
    by_shard: defaultdict[int, list[str]] = defaultdict(list)
    for user in users:
        by_shard[shard_of(user, shards)].append(user)
    recipients = webhooks = 0
    for shard, members in by_shard.items():
        answer = await store.call(
            "fan_out",
            [
                keys.roster(shard, event.post, event.version, slice_),
                keys.tally(shard, event.post),
                keys.routes(shard),
                keys.trimmed(shard),
                keys.deliveries(shard),
            ],
            [
                *(keys.tag(shard), encode_event(event), f"{type_}.{event.kind.word}", slice_),
                *(retention_s, inbox_max, inbox_keep, sockets_max, 120, encode_users(members)),
            ],
        )
        recipients, webhooks = recipients + answer[0], webhooks + answer[1]
    return recipients, webhooks


async def finish(store: Store, event: Event, slices: int) -> None:
    """Notes with the post that an event is fanned out."""
    key = keys.post(shard_of_id(event.post), event.post)
    await store.execute("HSET", key, f"fanned:{event.version}", "done", "slices", slices)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a delivery."""

    delivery: str
    state: State
    attempts: int = 1
    status: int = 0
    error: str = ""
    due_ms: int = 0
    base: int = 0
    log: bytes = b""
    renews: bool = False
    at_ms: int = NOW_MS


@dataclass(slots=True)
class Sender:
    """What a sender of one shard does with the store, without sending anything."""

    store: Store
    shard: int
    token: bytes = b"one"
    retention_s: int = RETENTION_S
    log_max: int = 3
    parked_max: int = 1_000
    dead_max: int = 1_000
    redeliveries_max: int = 1_000
    batches: int = field(default=0)

    @property
    def lease(self) -> bytes:
        return keys.lease(self.shard, keys.SENDER)

    def stream(self, again: bool) -> bytes:
        return keys.redeliveries(self.shard) if again else keys.deliveries(self.shard)

    async def take(self) -> "Sender":
        """Takes the lease, whoever has it."""
        await self.store.execute("SET", self.lease, self.token, "EX", 60)
        return self

    async def read(self, again: bool = False, after: bytes = b">", count: int = 64) -> list[Any]:
        return await self.store.call(
            "read_group",
            [self.lease, self.stream(again)],
            [self.token, keys.GROUP, keys.CONSUMER, count, after],
        )

    def batch(
        self,
        results: Sequence[Result] = (),
        *,
        done: Sequence[bytes] = (),
        redone: Sequence[bytes] = (),
        health: Sequence[Any] = (),
    ) -> bytes:
        slices: defaultdict[tuple[str, int, int], list[Any]] = defaultdict(list)
        for result in results:
            parsed = parse_delivery_id(result.delivery)
            record = Record(
                result.state,
                result.attempts,
                result.status,
                result.at_ms,
                result.error,
                result.due_ms,
                result.base,
            )
            slices[parsed.post, parsed.version, parsed.slice].append(
                (
                    *(parsed.endpoint, result.attempts, result.state.value),
                    *(encode_record(record), result.due_ms, result.log, int(result.renews)),
                )
            )
        rows = [(*place, list(of_slice)) for place, of_slice in slices.items()]
        return encode_batch((rows, list(done), list(redone), list(health)))

    async def record(
        self,
        results: Sequence[Result] = (),
        *,
        now_ms: int = NOW_MS,
        batch_id: bytes | None = None,
        **more: Any,
    ) -> list[Any]:
        """Writes outcomes; `done`, `redone` and `health` as in the script."""
        self.batches += 1
        return await self.store.call(
            "record_outcomes",
            [
                self.lease,
                keys.retries(self.shard),
                keys.dead(self.shard),
                keys.deliveries(self.shard),
                keys.redeliveries(self.shard),
                keys.probes(self.shard),
                keys.batch(self.shard),
                keys.endpoint_states(self.shard),
            ],
            [
                *(self.token, keys.GROUP, keys.tag(self.shard), now_ms, self.retention_s),
                *(self.log_max, self.parked_max, self.dead_max, self.batch(results, **more)),
                *(encode_time(now_ms), batch_id or b"%b:%d" % (self.token, self.batches)),
                log_ttl_s(self.retention_s),
            ],
        )

    async def move_due(self, now_ms: int, limit: int = 500) -> Any:
        return await self.store.call(
            "move_due",
            [self.lease, keys.retries(self.shard), self.stream(True)],
            [self.token, now_ms, limit, self.redeliveries_max],
        )


async def cancel(store: Store, event: Event, slice_: int, shard: int) -> int:
    """Cancels what is pending of one slice of one version."""
    return await store.call(
        "cancel_slice",
        [
            keys.roster(shard, event.post, event.version, slice_),
            keys.outcomes(shard, event.post, event.version, slice_),
            keys.tally(shard, event.post),
            keys.retries(shard),
        ],
        [
            *(keys.tag(shard), event.post, event.version, slice_),
            *(encode_time(NOW_MS), RETENTION_S),
        ],
    )
