"""Processes tell of themselves with one small write, and are gone soon when they do not."""

import asyncio

import pytest

from app import __version__
from app import metric_names as names
from app.domain.shard import shard_of
from app.errors import StoreUnavailable
from app.metrics import PUSH_BOUNDS_S, Histogram, Metrics
from app.store import keys
from app.store.client import Store
from app.store.processes import TTL_S, Publisher, published, read_processes, resident_bytes
from tests.store.service import SHARDS
from tests.wait import wait_until


def counters() -> Metrics:
    made = Metrics()
    times = Histogram(PUSH_BOUNDS_S)
    times.observe(0.004, 3)
    made.register(
        names.DELIVERIES_SETTLED,
        lambda: {(("state", "delivered"),): 7.0, (("state", "dead"),): 2.0},
    )
    made.register(names.PUSH_TIME, lambda: {(("channel", "webhook"),): times})
    made.register(
        names.LEASES_HELD, lambda: {(("role", "sender"),): 8.0, (("role", "fanout"),): 3.0}
    )
    made.register(names.ATTEMPTS_OPEN, lambda: 4)
    return made


def test_a_snapshot_tells_what_the_process_counts_and_nothing_for_what_it_does_not():
    found = Publisher(Store, SHARDS, "w1", "worker", counters(), clock=lambda: 5_000).look()  # type: ignore[arg-type]
    assert (found.id, found.role, found.version) == ("w1", "worker", __version__)
    assert (found.at_ms, found.started_at_ms) == (5_000, 5_000)
    assert found.delivered == {"webhook": 7, "socket": 0}
    assert (found.leases_held, found.attempts_open) == (11, 4)
    assert (found.sockets_open, found.posts_accepted) == (0, 0)
    [counts] = found.push_counts.values()
    assert sum(counts) == 3
    assert len(counts) == len(PUSH_BOUNDS_S) + 1
    assert found.memory_bytes > 1_000_000


def test_the_memory_is_that_of_this_process():
    before = resident_bytes()
    held = bytearray(64 * 1024 * 1024)
    held[::4096] = b"x" * len(held[::4096])
    assert resident_bytes() - before > 32 * 1024 * 1024


async def test_what_one_process_tells_all_can_read_until_it_is_silent_for_long(store: Store):
    publisher = Publisher(store, SHARDS, "w1", "worker", counters())
    await publisher.publish()
    [found] = await read_processes(store, SHARDS, ["w1", "w2"])
    assert found.id == "w1"
    key = keys.process(shard_of("w1", SHARDS), "w1")
    assert 0 < await store.execute("PTTL", key) <= TTL_S * 1000
    await publisher.leave()
    assert await read_processes(store, SHARDS, ["w1"]) == []


async def test_while_the_block_runs_it_is_told_again_and_again_and_not_after_it(store: Store):
    times = iter(range(1_000_000))
    publisher = Publisher(store, SHARDS, "w1", "worker", Metrics(), clock=lambda: next(times))

    async def at_ms() -> int:
        found = await read_processes(store, SHARDS, ["w1"])
        return found[0].at_ms if found else 0

    async with published(publisher):
        first = await wait_until(at_ms)
        publishing = asyncio.create_task(publisher.run(every_s=0.01))
        await wait_until(lambda: _is_later(at_ms, first))
        publishing.cancel()
    assert await read_processes(store, SHARDS, ["w1"]) == []


async def _is_later(at_ms, first: int) -> bool:
    return await at_ms() > first


async def test_what_another_release_wrote_is_passed_over(store: Store):
    for raw in (b"", b"\x00", b"{}", b'{"form": 9}', b"[]", b"{" * 1_000):
        await store.execute("SET", keys.process(shard_of("w1", SHARDS), "w1"), raw)
        assert await read_processes(store, SHARDS, ["w1"]) == []


async def test_an_outage_is_waited_out_and_told_once(
    single_store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    publisher = Publisher(single_store, SHARDS, "w1", "worker", Metrics())
    publish, calls = publisher.publish, []

    async def sometimes() -> None:
        calls.append(1)
        if len(calls) < 4:
            raise StoreUnavailable("away")
        await publish()

    monkeypatch.setattr(publisher, "publish", sometimes)
    task = asyncio.create_task(publisher.run(every_s=0.001))
    await wait_until(lambda: read_processes(single_store, SHARDS, ["w1"]))
    task.cancel()
    told = [record for record in caplog.records if record.msg == "store unavailable"]
    assert len(told) == 1


async def test_a_counter_that_cannot_be_read_is_told_once_and_ends_nothing(
    single_store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    publisher = Publisher(single_store, SHARDS, "w1", "worker", Metrics())
    look, calls = publisher.look, []

    def sometimes():
        calls.append(1)
        if len(calls) < 4:
            raise ZeroDivisionError
        return look()

    monkeypatch.setattr(publisher, "look", sometimes)
    task = asyncio.create_task(publisher.run(every_s=0.001))
    await wait_until(lambda: read_processes(single_store, SHARDS, ["w1"]))
    task.cancel()
    told = [record for record in caplog.records if record.msg == "snapshot cannot be made"]
    assert len(told) == 1
