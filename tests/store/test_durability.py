"""Answers that wait for the disk or a replica: shared waits, and what falls short."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from urllib.parse import urlsplit

import pytest

from app.errors import CommandRejected, NotDurable, StoreUnavailable
from app.store import durability
from app.store.client import Store
from app.store.connection import open_connection, pack
from app.store.durability import GroupCommit
from app.store.server import Server
from app.store.url import Address, Login
from tests.wait import wait_until

pytestmark = pytest.mark.usefixtures("scripts")

KEY = b"count:{1}"
ADD = pack(("INCR", KEY))


@pytest.fixture
async def server(single_store: Store, single_store_url: str) -> AsyncIterator[Server]:
    address = Address(urlsplit(single_store_url).path, 0)

    async def dial(shared: bool) -> object:
        return await open_connection(
            address, Login(), None, connect_timeout_s=2, silence_max_s=5 if shared else None
        )

    server = Server("test", dial)  # type: ignore[arg-type]
    yield server
    await server.close()


async def test_a_script_is_answered_once_the_disk_has_its_write(store: Store) -> None:
    await store.broadcast("SCRIPT", "FLUSH")
    assert await store.call("add", [KEY], [1], durable="fsync") == 1
    assert await store.call("add", [KEY], [1], durable="fsync") == 2
    assert await store.execute("GET", KEY) == b"2"


async def test_the_error_of_a_script_says_more_than_its_durability(store: Store) -> None:
    with pytest.raises(CommandRejected, match="NOTNOW x"):
        await store.call("refuse", [KEY], ["x"], durable="fsync")


async def test_many_writes_share_few_waits(single_store: Store) -> None:
    await single_store.broadcast("CONFIG", "RESETSTAT")
    calls = (single_store.call("add", [KEY], [1], durable="fsync") for _ in range(100))
    assert sorted(await asyncio.gather(*calls)) == list(range(1, 101))
    [stats] = await single_store.broadcast("INFO", "commandstats")
    [line] = [line for line in stats.splitlines() if line.startswith(b"cmdstat_waitaof")]
    assert int(line.split(b"calls=")[1].split(b",")[0]) <= 4


async def test_a_disk_that_does_not_confirm_falls_short(
    single_store: Store, server: Server
) -> None:
    await single_store.broadcast("CONFIG", "SET", "appendfsync", "no")
    commit = GroupCommit("test", server.block, "fsync", wait_ms=50)
    try:
        with pytest.raises(NotDurable, match="disk has not confirmed the write in 50 ms"):
            await commit.send(ADD, 1)
    finally:
        await single_store.broadcast("CONFIG", "SET", "appendfsync", "everysec")
    assert await single_store.execute("GET", KEY) == b"1"  # the write itself stands


async def test_a_missing_replica_falls_short(single_store: Store, server: Server) -> None:
    commit = GroupCommit("test", server.block, "replica", wait_ms=20)
    with pytest.raises(NotDurable, match="no replica has confirmed"):
        await commit.send(ADD, 1)
    assert await single_store.execute("GET", KEY) == b"1"


async def test_without_an_append_only_file_waiting_for_the_disk_is_an_error(
    single_store: Store, server: Server
) -> None:
    await single_store.broadcast("CONFIG", "SET", "appendonly", "no")
    try:
        with pytest.raises(CommandRejected, match="WAITAOF"):
            await single_store.call("add", [KEY], [1], durable="fsync")
    finally:
        await single_store.broadcast("CONFIG", "SET", "appendonly", "yes")


async def test_a_cancelled_writer_takes_back_what_was_not_sent(
    single_store: Store, server: Server
) -> None:
    commit = GroupCommit("test", server.block, "replica", wait_ms=100)
    first = asyncio.create_task(commit.send(ADD, 1))
    await wait_until(partial(_blocked, single_store))
    cancelled, kept = (asyncio.create_task(commit.send(ADD, 1)) for _ in range(2))
    await asyncio.sleep(0)
    cancelled.cancel()
    outcomes = await asyncio.gather(first, cancelled, kept, return_exceptions=True)
    assert [type(o) for o in outcomes] == [NotDurable, asyncio.CancelledError, NotDurable]
    assert await single_store.execute("GET", KEY) == b"2"


async def test_a_cancelled_writer_does_not_disturb_those_it_was_sent_with(
    single_store: Store, server: Server
) -> None:
    commit = GroupCommit("test", server.block, "replica", wait_ms=100)
    writers = [asyncio.create_task(commit.send(ADD, 1)) for _ in range(3)]
    await wait_until(partial(_blocked, single_store))
    writers[0].cancel()
    outcomes = await asyncio.gather(*writers, return_exceptions=True)
    assert [type(o) for o in outcomes] == [asyncio.CancelledError, NotDurable, NotDurable]
    assert await single_store.execute("GET", KEY) == b"3"


async def test_more_writes_than_the_limit_are_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durability, "QUEUED_MAX", 2)
    commit = GroupCommit("test", server.block, "replica", wait_ms=50)
    writers = [asyncio.create_task(commit.send(ADD, 1)) for _ in range(3)]
    outcomes = await asyncio.gather(*writers, return_exceptions=True)
    assert [type(o) for o in outcomes] == [NotDurable, NotDurable, StoreUnavailable]


async def test_closing_fails_the_writes_that_wait(single_store: Store, server: Server) -> None:
    writing = asyncio.create_task(server.commit("replica").send(ADD, 1))
    await wait_until(partial(_blocked, single_store))
    await server.close()
    with pytest.raises(StoreUnavailable, match="given up"):
        await writing


async def _blocked(store: Store) -> bool:
    [report] = await store.broadcast("INFO", "clients")
    return b"blocked_clients:1\r" in report
