"""The newest posts, of all authors: those still in the streams, and those fan-out has finished.

Fan-out notes the id of each post it has finished, of each shard the newest `KEPT_MAX`; posting
itself writes nothing more for this. Ids sort by the time of posting.
"""

from collections.abc import Sequence
from typing import Final

from app.domain.ids import is_post_id, shard_of_id
from app.domain.post import EventKind, Post
from app.errors import DecodeError
from app.store import keys
from app.store.client import Entry, Store
from app.wire import decode_event, stream_fields

KEPT_MAX: Final = 500
WAITING_MAX: Final = 200  # entries of one stream looked at: normally it has none

_FIELDS: Final = ("author", "type", "version", "created_at", "updated_at", "deleted")


async def newest_posts(
    store: Store, shards: int, after: str | None, limit: int
) -> tuple[list[Post], str | None]:
    """Up to `limit` posts older than `after`, the newest first, and where to go on. None of them
    has its data: that of two hundred could be 50 MB.

    Two round trips. A page may be short: a post may be over that is still in the list.
    """
    high = "+" if after is None else f"({after}"
    commands: list[tuple[str | bytes | int, ...]] = []
    for shard in range(shards):
        commands.append(
            ("ZRANGE", keys.newest(shard), high, "-", "BYLEX", "REV", "LIMIT", 0, limit + 1)
        )
        commands.append(("XREVRANGE", keys.posts(shard), "+", "-", "COUNT", WAITING_MAX))
    replies = await store.run_many(commands)
    ids = {id_.decode() for finished in replies[0::2] for id_ in finished}
    ids |= {id_ for waiting in replies[1::2] for id_ in _created(waiting)}
    found = sorted((id_ for id_ in ids if after is None or id_ < after), reverse=True)
    page = found[:limit]
    return await _heads(store, page), page[-1] if len(found) > limit else None


def _created(entries: Sequence[Entry]) -> list[str]:
    """The posts among the entries of a stream. Canaries, and what cannot be read, are none."""
    found: list[str] = []
    for _, raw in entries:
        fields = stream_fields(raw or ())
        try:
            event = decode_event(fields.get(b"e", b""))
        except DecodeError:
            continue
        if event.kind is EventKind.CREATED and is_post_id(event.post):
            found.append(event.post)
    return found


async def _heads(store: Store, ids: Sequence[str]) -> list[Post]:
    rows = await store.run_many(
        [("HMGET", keys.post(shard_of_id(id_), id_), *_FIELDS) for id_ in ids]
    )
    return [
        Post(
            id_,
            author.decode(),
            type_.decode(),
            int(version),
            int(created_at),
            int(updated_at),
            b"",
            deleted is not None,
        )
        for id_, (author, type_, version, created_at, updated_at, deleted) in zip(
            ids, rows, strict=True
        )
        if author is not None
    ]
