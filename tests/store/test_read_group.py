"""read_group.lua: one reader a stream, and nothing read that its reader does not know of."""

import asyncio

import pytest

from app.errors import ConnectionLost
from app.store import keys
from app.store.client import Store
from tests.opened_store import opened
from tests.store.proxy import Proxy
from tests.store.service import Sender
from tests.wait import wait_until

KEY = keys.deliveries(1)


async def put(store: Store, number: int) -> list[bytes]:
    return [await store.execute("XADD", KEY, "*", "n", n) for n in range(number)]


async def test_the_group_is_made_when_first_read_and_has_what_was_there_before(
    store: Store,
) -> None:
    ids = await put(store, 3)
    sender = await Sender(store, 1).take()
    assert [id_ for id_, _ in await sender.read(count=2)] == ids[:2]
    assert [id_ for id_, _ in await sender.read()] == ids[2:]
    assert await sender.read() == []


async def test_an_empty_stream_has_nothing_and_keeps_its_group(store: Store) -> None:
    sender = await Sender(store, 1).take()
    assert await sender.read() == await sender.read(after=b"0") == []
    ids = await put(store, 1)
    assert [id_ for id_, _ in await sender.read()] == ids


async def test_the_next_owner_reads_what_the_last_one_had_in_flight(store: Store) -> None:
    ids = await put(store, 5)
    first = await Sender(store, 1).take()
    await first.read(count=3)
    second = await Sender(store, 1, token=b"two").take()
    assert [id_ for id_, _ in await second.read(after=b"0", count=2)] == ids[:2]
    assert [id_ for id_, _ in await second.read(after=ids[1])] == ids[2:3]
    assert [id_ for id_, _ in await second.read()] == ids[3:]


async def test_without_the_lease_nothing_is_read_or_made_pending(store: Store) -> None:
    await put(store, 2)
    former = await Sender(store, 1).take()
    owner = await Sender(store, 1, token=b"two").take()
    assert await former.read() == await former.read(after=b"0") == b"lost"
    assert len(await owner.read()) == 2
    await store.execute("DEL", owner.lease)
    assert await owner.read() == b"lost"


async def test_a_store_that_was_emptied_gets_its_groups_again(store: Store) -> None:
    sender = await Sender(store, 1).take()
    await sender.read()
    await store.broadcast("FLUSHALL")
    ids = await put(store, 1)
    await sender.take()
    assert [id_ for id_, _ in await sender.read()] == ids


async def test_a_read_whose_reply_was_lost_is_not_sent_again_by_itself(
    single_store: Store, proxy: Proxy
) -> None:
    # What it read is pending. A second read would bring the next entries, and nobody would know of
    # the first ones before there is another owner.
    ids = await put(single_store, 2)
    await Sender(single_store, 1).take()
    async with opened(proxy.url) as store:
        sender = Sender(store, 1)
        await sender.read(after=b"0")
        async with proxy.losing_replies():
            reading = asyncio.create_task(sender.read(count=1))
            await wait_until(lambda: b"EVALSHA" in proxy.passed)
            await wait_until(lambda: _pending(single_store, 1))
        with pytest.raises(ConnectionLost):
            await reading
        assert [id_ for id_, _ in await sender.read(after=b"0")] == ids[:1]


async def _pending(store: Store, count: int) -> bool:
    return (await store.execute("XPENDING", KEY, keys.GROUP))[0] == count
