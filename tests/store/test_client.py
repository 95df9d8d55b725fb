"""Scripts and commands: order, errors, lost replies, outages. Most run on a cluster too."""

import asyncio
import time
from pathlib import Path

import pytest

from app.errors import (
    CommandRejected,
    ConnectionLost,
    GroupMissing,
    StoreFull,
    StoreUnavailable,
)
from app.store import connection
from app.store.client import Call, Store
from app.store.embedded import EmbeddedServer
from tests.opened_store import opened
from tests.store.proxy import Proxy
from tests.store_servers import free_ports
from tests.wait import wait_until

pytestmark = pytest.mark.usefixtures("scripts")

KEYS = [b"count:{%d}" % shard for shard in range(16)]


async def test_a_script_is_loaded_wherever_it_is_missing(store: Store) -> None:
    await store.broadcast("SCRIPT", "FLUSH")
    assert [await store.call("add", [key], [2]) for key in KEYS] == [2] * 16
    assert [await store.call("add", [key], [b"3"]) for key in KEYS] == [5] * 16


async def test_many_calls_answer_in_their_order(store: Store) -> None:
    calls = [Call("add", [key], [number]) for number, key in enumerate(KEYS)]
    assert await store.call_many(calls) == list(range(16))
    assert await store.call_many([]) == []


async def test_calls_of_one_batch_run_once_each_though_the_script_was_missing(
    store: Store,
) -> None:
    await store.broadcast("SCRIPT", "FLUSH")
    calls = [Call("add", [key], [1]) for key in KEYS for _ in range(3)]
    await store.call_many(calls)
    assert await store.run_many([("GET", key) for key in KEYS]) == [b"3"] * 16


async def test_a_failing_call_does_not_keep_the_others_from_running(store: Store) -> None:
    calls = [Call("add", [KEYS[0]], [1]), Call("refuse", [KEYS[1]], ["x"])]
    calls += [Call("add", [KEYS[2]], [1]), Call("refuse", [KEYS[3]], ["y"])]
    with pytest.raises(CommandRejected, match="NOTNOW x") as caught:
        await store.call_many(calls)
    assert caught.value.code == "NOTNOW"
    assert caught.value.__notes__ == ["2 of 4 failed; this is the first error"]
    assert await store.run_many([("GET", KEYS[0]), ("GET", KEYS[2])]) == [b"1", b"1"]


async def test_errors_can_be_left_in_their_place(store: Store) -> None:
    await store.execute("SET", KEYS[1], "no number")
    replies = await store.run_many([("INCR", key) for key in KEYS[:3]], return_exceptions=True)
    assert replies[0] == replies[2] == 1
    assert isinstance(replies[1], CommandRejected)
    calls = [Call("refuse", [KEYS[0]], ["x"]), Call("add", [KEYS[0]], [1])]
    failed, added = await store.call_many(calls, return_exceptions=True)
    assert isinstance(failed, CommandRejected)
    assert added == 2


async def test_a_plain_command_answers_bytes_numbers_lists_and_none(store: Store) -> None:
    assert await store.execute("RPUSH", KEYS[0], "a", b"b", 3, 1.5) == 4
    assert await store.execute("LRANGE", KEYS[0], 0, -1) == [b"a", b"b", b"3", b"1.5"]
    assert await store.execute("GET", KEYS[1]) is None


async def test_a_command_with_a_subcommand_finds_the_server_of_its_key(store: Store) -> None:
    created = [await store.execute("XGROUP", "CREATE", key, "g", "$", "MKSTREAM") for key in KEYS]
    assert created == [b"OK"] * 16
    assert all([await store.execute("XINFO", "GROUPS", key) for key in KEYS])


async def test_a_missing_group_is_its_own_error(store: Store) -> None:
    with pytest.raises(GroupMissing):
        await store.execute("XREADGROUP", "GROUP", "g", "c", "STREAMS", KEYS[0], ">")


async def test_a_command_of_the_wrong_type_is_rejected_loudly(store: Store) -> None:
    await store.execute("SET", KEYS[0], "x")
    with pytest.raises(CommandRejected) as caught:
        await store.execute("LPUSH", KEYS[0], "x")
    assert caught.value.code == "WRONGTYPE"


async def test_a_full_store_refuses_writes_and_still_reads(store: Store) -> None:
    await store.call("fill", [KEYS[0]], [10])
    await store.broadcast("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(StoreFull):
            await store.call("fill", [KEYS[0]], [100_000])
        with pytest.raises(StoreFull):
            await store.execute("SET", KEYS[0], "x")
        assert await store.execute("GET", KEYS[0]) == b"x" * 10
    finally:
        await store.broadcast("CONFIG", "SET", "maxmemory", "0")


async def test_a_broadcast_reaches_every_primary(store: Store, store_url: str) -> None:
    assert len(await store.broadcast("PING")) == (3 if "cluster" in store_url else 1)


async def test_what_is_sent_and_refused_is_counted_and_every_round_trip_timed(
    store: Store, scripts: None
) -> None:
    traffic = store.traffic
    await store.execute("SET", "{a}", 1)
    calls, errors, trips = traffic.calls, traffic.errors, sum(traffic.time("memory").counts)
    await store.run_many([("GET", "{a}1"), ("GET", "{a}2"), ("GET", "{a}3")])
    with pytest.raises(CommandRejected):
        await store.execute("INCR", "{a}", "too", "many")
    assert traffic.calls - calls == 4
    assert traffic.errors - errors == 1
    assert sum(traffic.time("memory").counts) - trips == 2
    assert 0 < traffic.time("memory").sum < 60


async def test_a_wait_for_the_disk_is_timed_apart(single_store: Store, scripts: None) -> None:
    times = single_store.traffic.time("fsync")
    before = sum(times.counts)
    await single_store.call("add", [b"{a}"], [1], durable="fsync")
    assert sum(times.counts) > before  # twice where the server did not know the script yet


async def test_callers_share_one_connection(single_store: Store) -> None:
    calls = (single_store.call("add", [KEYS[0]], [1]) for _ in range(300))
    assert sorted(await asyncio.gather(*calls)) == list(range(1, 301))
    assert await _clients(single_store) == 1


async def test_a_cancelled_caller_does_not_disturb_the_others(store: Store) -> None:
    async with asyncio.TaskGroup() as tasks:
        kept, dropped = [], []
        for number in range(100):
            task = tasks.create_task(store.execute("ECHO", f"{number}"))
            (dropped if number % 3 == 0 else kept).append((number, task))
        await asyncio.sleep(0)  # all are sent, none is answered
        for _, task in dropped:
            task.cancel()
    assert [task.result() for _, task in kept] == [b"%d" % number for number, _ in kept]
    assert all(task.cancelled() for _, task in dropped)


async def test_a_reply_larger_than_any_read_comes_whole(store: Store) -> None:
    await store.call("fill", [KEYS[0]], [3_000_000])
    small = asyncio.gather(*(store.execute("ECHO", "x") for _ in range(5)))
    assert await store.execute("GET", KEYS[0]) == b"x" * 3_000_000
    assert await small == [b"x"] * 5


async def test_the_store_works_again_after_its_server_was_restarted(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "data")
    async with opened(server.start()) as store:
        try:
            assert await store.call("add", [KEYS[0]], [1]) == 1
            await asyncio.to_thread(server.stop)
            with pytest.raises(StoreUnavailable, match=r"valkey\.sock"):
                await store.call("add", [KEYS[0]], [1])
            await asyncio.to_thread(server.start)
            assert await store.call("add", [KEYS[0]], [1]) == 2
        finally:
            server.stop()


async def test_a_script_whose_reply_was_lost_is_run_once_more(proxy: Proxy) -> None:
    async with opened(proxy.url) as store:
        assert await store.call("add", [KEYS[0]], [1]) == 1
        async with proxy.losing_replies():
            adding = asyncio.create_task(store.call("add", [KEYS[0]], [1]))
            await wait_until(lambda: b"EVALSHA" in proxy.passed)
        assert await adding == 3


async def test_a_script_that_says_once_is_not_run_again(proxy: Proxy) -> None:
    async with opened(proxy.url) as store:
        assert await store.call("add_once", [KEYS[0]], [1]) == 1
        async with proxy.losing_replies():
            adding = asyncio.create_task(store.call("add_once", [KEYS[0]], [1]))
            await wait_until(lambda: b"EVALSHA" in proxy.passed)
        with pytest.raises(ConnectionLost):
            await adding
        assert await store.execute("GET", KEYS[0]) == b"2"


async def test_a_plain_command_whose_reply_was_lost_is_not_sent_again(proxy: Proxy) -> None:
    async with opened(proxy.url) as store:
        assert await store.execute("INCR", KEYS[0]) == 1
        async with proxy.losing_replies():
            adding = asyncio.create_task(store.execute("INCR", KEYS[0]))
            await wait_until(lambda: b"INCR" in proxy.passed)
        with pytest.raises(ConnectionLost):
            await adding
        assert await store.execute("GET", KEYS[0]) == b"2"


async def test_a_server_that_falls_silent_is_given_up(proxy: Proxy) -> None:
    async with opened(proxy.url, connect_timeout_s=0.2, answer_timeout_s=0.2) as store:
        await store.execute("PING")
        started = time.monotonic()
        async with proxy.losing_replies():
            with pytest.raises(ConnectionLost, match=r"no answer for 0\.2 s"):
                await store.execute("GET", KEYS[0])
        assert 0.2 <= time.monotonic() - started < 5
        assert await store.execute("GET", KEYS[0]) is None


async def test_a_server_that_never_answers_costs_one_timeout_for_all_who_wait(
    proxy: Proxy,
) -> None:
    async with opened(proxy.url, connect_timeout_s=0.2) as store, proxy.losing_replies():
        started = time.monotonic()
        calls = (store.call("add", [KEYS[0]], [1]) for _ in range(20))
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert time.monotonic() - started < 3  # one after the other it would be 4
        assert {type(error) for error in errors} == {StoreUnavailable}


async def test_an_unreachable_store_is_unavailable_and_says_where() -> None:
    [port] = free_ports(1)
    for scheme in ("redis", "redis+cluster"):
        async with opened(f"{scheme}://127.0.0.1:{port}") as store:
            for attempt in (
                store.execute("PING"),
                store.broadcast("PING"),
                store.call_many([Call("add", [KEYS[0]], [1])]),
                store.read_streams({KEYS[0]: b"0"}, count=1, block_ms=10),
            ):
                with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{port}"):
                    await attempt


async def test_more_waiting_than_the_limit_is_refused(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "WAITING_MAX", 10)
    async with opened(proxy.url) as store:
        await store.execute("PING")
        async with proxy.losing_replies(), asyncio.TaskGroup() as tasks:
            waiting = [tasks.create_task(store.execute("PING")) for _ in range(10)]
            await asyncio.sleep(0)
            with pytest.raises(StoreUnavailable, match="10 batches wait"):
                await store.execute("PING")
            for task in waiting:
                task.cancel()


async def test_more_unsent_bytes_than_the_limit_are_refused(
    single_store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "UNSENT_BYTES_MAX", 1_000_000)
    handlers: list[asyncio.Task[None]] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.create_task(_answer_once(reader, writer)))

    stuck = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with (
        opened(f"redis://127.0.0.1:{stuck.sockets[0].getsockname()[1]}") as store,
        asyncio.TaskGroup() as tasks,
    ):
        big = tasks.create_task(store.execute("SET", KEYS[0], b"x" * 20_000_000))
        await wait_until(lambda: _refuses(store))
        big.cancel()
    for handler in handlers:
        handler.cancel()
    await asyncio.wait(handlers)
    stuck.close()
    await stuck.wait_closed()


async def test_a_closed_store_refuses_and_leaves_no_connection(
    store: Store, store_url: str
) -> None:
    async with opened(store_url) as closing:
        await closing.execute("GET", KEYS[0])
        reading = asyncio.create_task(
            closing.read_streams({KEYS[0]: b"$"}, count=1, block_ms=60_000)
        )
        await wait_until(lambda: _is_blocked(store))
        clients = await _clients(store)
    with pytest.raises(ConnectionLost, match="closed"):
        await reading
    with pytest.raises(StoreUnavailable, match="closed"):
        await closing.execute("GET", KEYS[0])
    with pytest.raises(StoreUnavailable, match="closed"):
        await closing.read_streams({KEYS[0]: b"$"}, count=1, block_ms=1)
    await wait_until(lambda: _has_at_most(store, clients - 2))


async def _answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that answers the login and then reads nothing any more."""
    await reader.read(1000)
    writer.write(b"+OK\r\n")
    transport = writer.transport
    transport.pause_reading()
    try:
        await asyncio.sleep(60)
    finally:
        transport.abort()


async def _refuses(store: Store) -> bool:
    try:
        async with asyncio.timeout(0.01):
            await store.execute("PING")
    except StoreUnavailable as error:
        return "bytes wait" in str(error)
    except TimeoutError:
        return False
    return False


async def _clients(store: Store) -> int:
    lists = await store.broadcast("CLIENT", "LIST")
    return sum(text.count(b"name=moments") for text in lists)


async def _has_at_most(store: Store, clients: int) -> bool:
    return await _clients(store) <= clients


async def _is_blocked(store: Store) -> bool:
    reports = await store.broadcast("INFO", "clients")
    return any(b"blocked_clients:1" in report for report in reports)
