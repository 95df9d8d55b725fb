"""What a store was made for is written once, and everybody after has to agree."""

import asyncio
import re

import pytest

from app.errors import SchemaTooNew, SchemaUnknown, ShardsMismatch
from app.store import keys
from app.store.client import Store
from app.store.schema import Meta, open_schema, read_schema


async def test_an_empty_store_is_made_for_eight_shards_unless_told_otherwise(
    store: Store,
) -> None:
    meta = await open_schema(store, None)
    assert (meta.schema, meta.shards) == (1, 8)
    assert re.fullmatch(r"[0-9a-f]{12}", meta.epoch)


async def test_what_a_store_was_made_for_stays(store: Store) -> None:
    made = await open_schema(store, 16)
    assert await open_schema(store, 16) == made
    assert await open_schema(store, None) == made == Meta(1, 16, made.epoch)


async def test_many_who_open_an_empty_store_at_once_agree(store: Store) -> None:
    metas = await asyncio.gather(*(open_schema(store, None) for _ in range(20)))
    assert len(set(metas)) == 1


async def test_every_new_store_has_another_epoch(store: Store) -> None:
    first = await open_schema(store, None)
    await store.broadcast("FLUSHALL")
    assert (await open_schema(store, None)).epoch != first.epoch


async def test_another_number_of_shards_is_refused_with_both_numbers(store: Store) -> None:
    await open_schema(store, 4)
    with pytest.raises(ShardsMismatch, match=r"made for 4 shards, not 16.*MOMENTS_SHARDS=4"):
        await open_schema(store, 16)


async def test_the_store_of_a_newer_release_is_refused(store: Store) -> None:
    await open_schema(store, None)
    await store.execute("HSET", keys.META, "schema", 2)
    with pytest.raises(SchemaTooNew, match=r"schema 2.*only up to 1"):
        await open_schema(store, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [("schema", "0"), ("schema", "-1"), ("schema", "new"), ("shards", "many"), ("epoch", "")],
)
async def test_what_no_release_writes_is_refused_and_left_as_it_is(
    store: Store, field: str, value: str
) -> None:
    await open_schema(store, None)
    await store.execute("HSET", keys.META, field, value)
    before = await store.execute("HGETALL", keys.META)
    for opening in (open_schema, read_schema):
        with pytest.raises(SchemaUnknown, match="no release writes"):
            await opening(store, None)
    assert await store.execute("HGETALL", keys.META) == before


async def test_a_key_of_somebody_elses_by_that_name_is_refused(store: Store) -> None:
    await store.execute("HSET", keys.META, "name", "of another application")
    with pytest.raises(SchemaUnknown):
        await open_schema(store, None)
