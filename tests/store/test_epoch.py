"""A store in use that is emptied or replaced is noticed, by everybody, once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from app.errors import StoreUnavailable
from app.store import epoch, keys
from app.store.client import Store
from app.store.epoch import EpochWatch
from app.store.schema import SCHEMA, open_schema, read_schema
from tests.opened_store import opened
from tests.store.proxy import proxy_to
from tests.wait import wait_until


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch, "LOOK_S", 0.01)


class Watching:
    """What one process hears; with `failures` it cannot act on the first few."""

    def __init__(self, failures: int = 0) -> None:
        self.told: list[str] = []
        self.stop = asyncio.Event()
        self.failures = failures

    async def begin_anew(self, epoch: str) -> None:
        self.told.append(epoch)
        if len(self.told) <= self.failures:
            raise StoreUnavailable("away")

    @asynccontextmanager
    async def on(self, store: Store) -> AsyncIterator[asyncio.Task[None]]:
        watch = EpochWatch(store, await open_schema(store, 4), self.stop)
        task = asyncio.create_task(watch.run(self.begin_anew))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_an_emptied_store_is_made_again_for_the_same_shards_and_all_learn_its_epoch(
    store: Store,
):
    one, other = Watching(), Watching()
    async with one.on(store), other.on(store):
        before = await read_schema(store, None)
        await store.broadcast("FLUSHALL")
        await wait_until(lambda: one.told and other.told)
        after = await read_schema(store, None)
        assert after.shards == before.shards == 4
        assert one.told == other.told == [after.epoch] != [before.epoch]


async def test_as_long_as_it_is_the_same_nobody_is_told(single_store: Store):
    watching = Watching()
    async with watching.on(single_store) as task:
        calls = await commands(single_store)
        await wait_until(lambda: more_commands(single_store, calls + 20))
        assert not task.done()
    assert watching.told == []


async def commands(store: Store) -> int:
    (info,) = await store.broadcast("INFO", "stats")
    return int(info.decode().partition("total_commands_processed:")[2].split()[0])


async def more_commands(store: Store, than: int) -> bool:
    return await commands(store) > than


async def test_who_could_not_act_on_it_is_told_again(single_store: Store):
    watching = Watching(failures=2)
    async with watching.on(single_store):
        await single_store.broadcast("FLUSHALL")
        await wait_until(lambda: len(watching.told) == 3)
        assert len(set(watching.told)) == 1


async def test_a_store_that_is_away_is_waited_for(single_store: Store, single_store_url: str):
    watching, target = Watching(), urlsplit(single_store_url).path
    async with (
        proxy_to(target) as proxy,
        opened(proxy.url, connect_timeout_s=0.1) as through,
        watching.on(through) as task,
    ):
        await proxy.close()
        await single_store.broadcast("FLUSHALL")
        async with proxy_to(target, port=proxy.port):
            await wait_until(lambda: watching.told)
        assert not task.done()


@pytest.mark.parametrize(
    ("field", "value"), [("shards", 5), ("schema", SCHEMA + 1)], ids=["shards", "schema"]
)
async def test_one_that_is_not_for_this_process_stops_it(
    single_store: Store, caplog: pytest.LogCaptureFixture, field: str, value: int
):
    watching = Watching()
    async with watching.on(single_store) as task:
        await single_store.execute("HSET", keys.META, field, value)
        await asyncio.wait_for(watching.stop.wait(), 5)
        await task
    assert watching.told == []
    assert "another store is in the place of ours" in caplog.text
