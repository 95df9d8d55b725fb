"""Blocking reads: they wake up, give up, can be cancelled, and never hold up other calls."""

import asyncio
import time

import pytest

from app.errors import GroupMissing
from app.store.client import Store
from tests.wait import wait_until

STREAM = b"news:{3}"


async def test_a_read_wakes_up_when_an_entry_comes(store: Store) -> None:
    reading = asyncio.create_task(store.read_streams({STREAM: b"$"}, count=10, block_ms=5000))
    await wait_until(lambda: _blocked(store, 1))
    id_ = await store.execute("XADD", STREAM, "*", "k", "v")
    assert await reading == {STREAM: [[id_, [b"k", b"v"]]]}


async def test_a_read_without_entries_ends_in_time_with_nothing(store: Store) -> None:
    started = time.monotonic()
    assert await store.read_streams({STREAM: b"$"}, count=10, block_ms=30) == {}
    assert 0.03 <= time.monotonic() - started < 2


async def test_a_read_gives_what_is_behind_the_id_up_to_count_of_each_stream(
    store: Store,
) -> None:
    other = b"more:{3}"
    for number in range(1, 5):
        await store.execute("XADD", STREAM, f"{number}-0", "n", number)
    await store.execute("XADD", other, "9-0", "n", 9)
    streams = {STREAM: b"1-0", other: b"0"}
    assert await store.read_streams(streams, count=2, block_ms=10) == {
        STREAM: [[b"2-0", [b"n", b"2"]], [b"3-0", [b"n", b"3"]]],
        other: [[b"9-0", [b"n", b"9"]]],
    }


async def test_a_group_reads_new_entries_and_then_what_is_pending(store: Store) -> None:
    group = (b"g", b"owner")
    await store.execute("XGROUP", "CREATE", STREAM, "g", "0", "MKSTREAM")
    for number in (1, 2):
        await store.execute("XADD", STREAM, f"{number}-0", "n", number)
    new = await store.read_streams({STREAM: b">"}, count=10, block_ms=10, group=group)
    assert [id_ for id_, _ in new[STREAM]] == [b"1-0", b"2-0"]
    await store.execute("XDEL", STREAM, "1-0")
    pending = await store.read_streams({STREAM: b"0"}, count=10, block_ms=10, group=group)
    assert pending == {STREAM: [[b"1-0", None], [b"2-0", [b"n", b"2"]]]}


async def test_a_missing_group_is_said_so(store: Store) -> None:
    with pytest.raises(GroupMissing):
        await store.read_streams({STREAM: b">"}, count=1, block_ms=10, group=(b"g", b"c"))


async def test_a_group_that_is_deleted_while_read_is_said_so(store: Store) -> None:
    await store.execute("XGROUP", "CREATE", STREAM, "g", "$", "MKSTREAM")
    reading = asyncio.create_task(
        store.read_streams({STREAM: b">"}, count=1, block_ms=5000, group=(b"g", b"c"))
    )
    await wait_until(lambda: _blocked(store, 1))
    await store.execute("XGROUP", "DESTROY", STREAM, "g")
    with pytest.raises(GroupMissing):
        await reading


async def test_a_cancelled_read_closes_its_connection(store: Store) -> None:
    reading = asyncio.create_task(store.read_streams({STREAM: b"$"}, count=1, block_ms=60_000))
    await wait_until(lambda: _blocked(store, 1))
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await wait_until(lambda: _blocked(store, 0))


async def test_blocked_reads_do_not_hold_up_calls(store: Store) -> None:
    reads = [
        asyncio.create_task(store.read_streams({STREAM: b"$"}, count=1, block_ms=60_000))
        for _ in range(20)
    ]
    await wait_until(lambda: _blocked(store, 20))
    async with asyncio.timeout(2):
        assert await store.run_many([("ECHO", "x")] * 50) == [b"x"] * 50
    for read in reads:
        read.cancel()
    await asyncio.gather(*reads, return_exceptions=True)


async def test_a_read_uses_the_connection_of_the_last_one_again(single_store: Store) -> None:
    for _ in range(5):
        await single_store.read_streams({STREAM: b"$"}, count=1, block_ms=1)
    [clients] = await single_store.broadcast("CLIENT", "LIST")
    assert clients.count(b"name=moments") == 2  # the shared one and one that may block


async def test_shards_are_grouped_by_what_one_read_can_cover(store: Store, store_url: str) -> None:
    expected = [[0], [2], [5]] if "cluster" in store_url else [[0, 2, 5]]
    assert store.groups([0, 2, 5]) == expected
    assert store.groups([]) == []
    for group in store.groups(range(8)):
        streams = {b"posts:{%d}" % shard: b"0" for shard in group}
        assert await store.read_streams(streams, count=1, block_ms=1) == {}


async def test_blocking_for_ever_is_refused(single_store: Store) -> None:
    with pytest.raises(ValueError, match="block_ms"):
        await single_store.read_streams({STREAM: b"$"}, count=1, block_ms=0)


async def _blocked(store: Store, count: int) -> bool:
    reports = await store.broadcast("INFO", "clients")
    found = sum(int(report.split(b"blocked_clients:")[1].split()[0]) for report in reports)
    return found == count
