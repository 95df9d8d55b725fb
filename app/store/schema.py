"""What a store was made for: schema, number of shards, epoch; written once, at its first use."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.shard import SHARDS_DEFAULT
from app.errors import SchemaTooNew, SchemaUnknown, ShardsMismatch
from app.store import keys
from app.store.client import Store

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Meta:
    """`epoch` is 12 random hex digits: a client that knows another one talks to a new store."""

    schema: int
    shards: int
    epoch: str


async def open_schema(store: Store, shards: int | None) -> Meta:
    """What this store is made for. An empty one is made for `shards` (None: 8) here and now.

    Raises ShardsMismatch when it was made for another number than `shards` (None: any will do),
    SchemaTooNew when a newer release has written it, SchemaUnknown when none of ours has: what an
    older one has written is brought up to date, and there is no older schema than 1.
    """
    wanted = SHARDS_DEFAULT if shards is None else shards
    row = await store.call("open_store", [keys.META], [SCHEMA, wanted, secrets.token_hex(6)])
    return _checked(row, shards)


async def read_schema(store: Store, shards: int | None) -> Meta | None:
    """The same without making anything: None when the store has not been used yet."""
    row = await store.execute("HMGET", keys.META, "schema", "shards", "epoch")
    return None if row == [None] * 3 else _checked(row, shards)


def _checked(row: Sequence[bytes | None], shards: int | None) -> Meta:
    meta = _read(row)
    if meta.schema > SCHEMA:
        raise SchemaTooNew(
            f"this store has schema {meta.schema} and this release knows only up to {SCHEMA}: "
            "run a newer release, or use another store"
        )
    if shards is not None and meta.shards != shards:
        raise ShardsMismatch(
            f"this store was made for {meta.shards} shards, not {shards}, and that cannot be "
            f"changed, because every key carries its shard: set MOMENTS_SHARDS={meta.shards} "
            "(or leave it out), or use an empty store"
        )
    return meta


def _read(row: Sequence[bytes | None]) -> Meta:
    schema, shards, epoch = (b"" if part is None else part for part in row)
    if not (schema.isdigit() and int(schema) >= 1 and shards.isdigit() and epoch):
        found = f"schema {schema!r}, shards {shards!r}, epoch {epoch!r}"
        raise SchemaUnknown(
            f"the key `{keys.META.decode()}` of this store holds {found}, which no release writes: "
            "use another database for the service, or restore this one from a backup"
        )
    return Meta(int(schema), int(shards), epoch.decode())
