"""Posts: accepting, editing, deleting and reading them."""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from app.domain.ids import POST_RANDOM_BITS, is_post_id, post_id, posted_at_ms, shard_of_id
from app.domain.post import Audience, Event, EventKind, Post
from app.domain.shard import shard_of
from app.errors import (
    BacklogFull,
    IdempotencyMismatch,
    PostDeleted,
    PostNotFound,
    TooManyVersions,
)
from app.settings import AckMode, Settings
from app.store import keys
from app.store.client import Store
from app.wire import encode_audience, encode_event

_FIELDS = ("author", "type", "version", "created_at", "updated_at", "data", "deleted", "trace")


@dataclass(frozen=True, slots=True)
class Accepted:
    """`replayed`: the Idempotency-Key was seen before, and this is the post it made then."""

    post: Post
    replayed: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a post's newest version is fanned out; `slices` of its first version."""

    fanned_out: bool
    slices: int
    version: int


class Posts:
    """The posts of all authors. Every write waits for the durability that `ack` names."""

    def __init__(
        self,
        store: Store,
        shards: int,
        *,
        retention_s: int,
        backlog_max: int,
        versions_max: int,
        idempotency_ttl_s: int,
        ack: AckMode,
    ) -> None:
        self._store = store
        self._shards = shards
        self._retention_s = retention_s
        self._backlog_max = backlog_max
        self._versions_max = versions_max
        self._idempotency_ttl_s = idempotency_ttl_s
        self._ack: AckMode = ack

    @classmethod
    def of(cls, store: Store, shards: int, settings: Settings) -> "Posts":
        """With the limits that the settings give."""
        return cls(
            store,
            shards,
            retention_s=settings.retention_s,
            backlog_max=settings.posts_backlog_max,
            versions_max=settings.post_versions_max,
            idempotency_ttl_s=settings.idempotency_ttl_s,
            ack=settings.ack,
        )

    async def accept(
        self,
        author: str,
        type_: str,
        data: bytes,
        audience: Audience,
        *,
        idempotency: str | None,
        now_ms: int,
        traceparent: bytes | None = None,
    ) -> Accepted:
        """Stores a post and its event in one step.

        `data` is JSON text; `traceparent` goes with both. Raises `IdempotencyMismatch`,
        `BacklogFull`, and what the store raises; a post that raised `NotDurable` may exist all the
        same.
        """
        shard = shard_of(author, self._shards)
        packed = encode_audience(audience)
        fields = ["author", author, "type", type_, "version", 1]
        fields += ["created_at", now_ms, "updated_at", now_ms, "data", data]
        if packed:
            fields += ["audience", packed]
        if traceparent is not None:  # last: the script looks for it there
            fields += ["trace", b"1 " + traceparent]
        key, fingerprint = None, ""
        if idempotency is not None:
            digest = hashlib.sha256(idempotency.encode()).hexdigest()[:32]
            key = keys.idempotency(shard, author, digest)
            fingerprint = _fingerprint(type_, data, packed)
        while True:
            id_ = post_id(now_ms, secrets.randbits(POST_RANDOM_BITS), shard)
            event = encode_event(Event(id_, 1, EventKind.CREATED))
            named = [keys.post(shard, id_), keys.posts(shard), *([key] if key else [])]
            head = [event, author, self._retention_s, self._backlog_max]
            head += [self._idempotency_ttl_s, id_, fingerprint]
            answer = await self._store.call(
                "accept_post", named, [*head, *fields], durable=self._ack
            )
            match answer[0]:
                case b"new":
                    return Accepted(Post(id_, author, type_, 1, now_ms, now_ms, data), False)
                case b"seen":
                    if answer[2].decode() != fingerprint:
                        raise IdempotencyMismatch(
                            "this Idempotency-Key came before with another request"
                        )
                    return _first_answer(answer[1].decode(), author, type_, data)
                case b"full":
                    raise BacklogFull(f"{self._backlog_max} posts are waiting to be fanned out")
                case _:
                    continue  # the id is taken: draw another

    async def get(self, id_: str) -> Post | None:
        return (await self.get_many([id_])).get(id_)

    async def get_many(self, ids: Iterable[str]) -> dict[str, Post]:
        """Those of the posts that exist."""
        wanted = [id_ for id_ in ids if is_post_id(id_) and shard_of_id(id_) < self._shards]
        commands = [("HMGET", keys.post(shard_of_id(id_), id_), *_FIELDS) for id_ in wanted]
        rows = await self._store.run_many(commands)
        return {
            id_: _post(id_, row)
            for id_, row in zip(wanted, rows, strict=True)
            if row[0] is not None
        }

    async def edit(
        self, id_: str, data: bytes, now_ms: int, *, traceparent: bytes | None = None
    ) -> Post:
        """Raises `PostNotFound`, `PostDeleted`, `TooManyVersions`, `BacklogFull`."""
        return await self._change(EventKind.UPDATED, id_, data, now_ms, traceparent)

    async def delete(self, id_: str, now_ms: int, *, traceparent: bytes | None = None) -> Post:
        """Deleting twice is deleting once. Raises `PostNotFound`."""
        return await self._change(EventKind.DELETED, id_, b"", now_ms, traceparent)

    async def _change(
        self, kind: EventKind, id_: str, data: bytes, now_ms: int, traceparent: bytes | None
    ) -> Post:
        if not is_post_id(id_) or shard_of_id(id_) >= self._shards:
            raise PostNotFound(f"there is no post {id_}")
        shard = shard_of_id(id_)
        limits = self._versions_max, self._backlog_max
        answer = await self._store.call(
            "change_post",
            [keys.post(shard, id_), keys.posts(shard)],
            [
                *(kind.value, id_, data, *limits, now_ms, secrets.token_hex(4)),
                *(() if traceparent is None else (traceparent,)),
            ],
            durable=self._ack,
        )
        match answer[0]:
            case b"missing":
                raise PostNotFound(f"there is no post {id_}, or it is no longer kept")
            case b"deleted":
                raise PostDeleted(f"the post {id_} is deleted")
            case b"versions":
                raise TooManyVersions(f"the post {id_} has {self._versions_max} versions already")
            case b"full":
                raise BacklogFull(f"{self._backlog_max} posts are waiting to be fanned out")
            case _:
                _, version, author, type_, created_at, updated_at = answer
        return Post(
            id_,
            author.decode(),
            type_.decode(),
            int(version),
            int(created_at),
            int(updated_at),
            data,
            kind is EventKind.DELETED,
        )

    async def progress(self, id_: str) -> Progress | None:
        """None when there is no such post."""
        if not is_post_id(id_) or shard_of_id(id_) >= self._shards:
            return None
        key = keys.post(shard_of_id(id_), id_)
        version, slices, first = await self._store.execute(
            "HMGET", key, "version", "slices", "fanned:1"
        )
        if version is None:
            return None
        newest = first
        if version != b"1":
            newest = await self._store.execute("HGET", key, b"fanned:" + version)
        # Until the first version is through, the slices done are those before the one in work.
        begun = int(first.split(b" ")[0]) + 1 if first and first != b"done" else 0
        return Progress(newest == b"done", int(slices) if slices else begun, int(version))


def _first_answer(id_: str, author: str, type_: str, data: bytes) -> Accepted:
    """The post as it was accepted, whatever became of it since: the request is the same."""
    at_ms = posted_at_ms(id_)
    return Accepted(Post(id_, author, type_, 1, at_ms, at_ms, data), True)


def _fingerprint(type_: str, data: bytes, audience: bytes) -> str:
    digest = hashlib.sha256()
    for part in (type_.encode(), data, audience):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:32]


def _post(id_: str, row: list[Any]) -> Post:
    author, type_, version, created_at, updated_at, data, deleted, trace = row
    return Post(
        id_,
        author.decode(),
        type_.decode(),
        int(version),
        int(created_at),
        int(updated_at),
        data,
        deleted is not None,
        trace.decode("ascii", "replace") if trace is not None else "",
    )
