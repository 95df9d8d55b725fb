import asyncio

import pytest

from app import __version__
from app.api.canary import Canary
from app.clock import now_ms
from app.domain.ids import shard_of_id
from app.errors import StoreUnavailable
from app.metrics import DELIVERIES_SETTLED, PUSH_BOUNDS_S, PUSH_TIME, Histogram, Metrics
from app.store import canary, keys
from app.store.processes import Publisher
from tests.api.conftest import SHARDS, Api
from tests.wait import wait_until


async def test_health_says_that_the_process_lives(single_api: Api):
    await single_api.services.store.close()
    async with single_api.client(None) as client:
        answer = await client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "version": __version__})


async def test_it_is_ready_when_a_canary_came_through_lately(api: Api):
    store = api.services.store
    for age_ms, ready in ((1_000, True), (29_000, True), (31_000, False)):
        await canary.arrived(store, 3, now_ms() - age_ms)
        answer = await api.admin.get("/readyz")
        assert answer.status_code == (200 if ready else 503)
        assert answer.json()["ready"] is ready
        assert answer.json()["checks"]["store"]["ok"] is True
        assert answer.json()["checks"]["canary"]["ok"] is ready


async def test_the_newest_canary_of_all_shards_counts(api: Api):
    await canary.arrived(api.services.store, 0, now_ms() - 100_000)
    await canary.arrived(api.services.store, 5, now_ms())
    assert (await api.admin.get("/readyz")).status_code == 200


async def test_without_a_canary_it_is_not_ready_and_says_why(api: Api):
    answer = await api.admin.get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert "canary" in answer.json()["detail"]


async def test_without_the_store_it_is_not_ready_and_says_why(single_api: Api):
    await single_api.services.store.close()
    answer = await single_api.admin.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["store"]["ok"] is False
    assert "store" in answer.json()["detail"]


async def test_metrics_count_the_requests_of_this_process(single_api: Api):
    await single_api.publish()
    await single_api.admin.get("/v1/posts/01k2v3w4x5y6z7a800")
    answer = await single_api.admin.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert 'moments_api_requests_total{status="202"} 1.0' in lines
    assert 'moments_api_requests_total{status="404"} 1.0' in lines
    assert "moments_posts_accepted_total 1.0" in lines
    assert "moments_api_requests_open 1.0" in lines  # the one that asks
    assert "moments_api_feed_waits_open 0.0" in lines
    assert "moments_api_request_seconds_count 2.0" in lines


async def test_waiting_on_purpose_is_not_taken_for_being_slow(running_api: Api):
    time = running_api.services.stats.time
    await running_api.admin.get("/v1/users/bob/feed?wait_s=0.05")
    assert sum(time.counts) == 0
    await running_api.admin.get("/v1/users/bob/feed")
    assert sum(time.counts) == 1
    assert running_api.services.stats.by_status[200] == 2


async def test_stats_tell_what_waits_who_owns_it_and_who_lives(api: Api):
    store = api.services.store
    post = await api.publish()
    await api.admin.post("/v1/endpoints", json={"user": "bob", "url": "https://public.example/"})
    await store.execute("SET", keys.lease(3, keys.SENDER), "w1.random")
    await store.execute("ZADD", keys.NODES, 1_769_860_800_123, "gateway-1")
    await store.execute("ZADD", keys.WORKERS, 1_769_860_800_123, "sender:w1")
    answer = await api.admin.get("/v1/stats")
    assert answer.status_code == 200
    found = answer.json()
    assert found["shards"] == len(found["queues_by_shard"]) == SHARDS
    assert found["queues"]["posts"] == 1
    assert found["queues_by_shard"][shard_of_id(post["id"])]["posts"] == 1
    assert found["endpoints"] == {"active": 1, "open": 0, "disabled": 0, "unverified": 0}
    held = [lease for lease in found["leases"] if lease["holder"]]
    assert held == [{"role": "sender", "shard": 3, "holder": "w1"}]
    assert found["nodes"] == [{"id": "gateway-1", "seen_at": "2026-01-31T12:00:00.123Z"}]
    assert found["workers"] == [
        {"id": "w1", "role": "sender", "seen_at": "2026-01-31T12:00:00.123Z"}
    ]


async def test_stats_add_up_what_each_process_tells_of_itself(api: Api):
    store = api.services.store
    for name, webhooks in (("w1", 5), ("w2", 7)):
        counters = Metrics()
        settled = {(("state", "delivered"),): float(webhooks)}
        counters.register(*DELIVERIES_SETTLED, lambda settled=settled: settled)
        times = Histogram(PUSH_BOUNDS_S)
        times.observe(0.0001, webhooks)
        counters.register(*PUSH_TIME, lambda times=times: {(("channel", "webhook"),): times})
        await store.execute("ZADD", keys.WORKERS, 1, f"sender:{name}", 1, f"fanout:{name}")
        await Publisher(store, SHARDS, name, "worker", counters).publish()
    await store.execute("ZADD", keys.NODES, 1, "a gateway that died")
    found = (await api.admin.get("/v1/stats")).json()
    assert [process["id"] for process in found["processes"]] == ["w1", "w2"]
    assert [process["delivered"]["webhook"] for process in found["processes"]] == [5, 7]
    assert found["processes"][0]["role"] == "worker"
    assert found["delivered"] == {"webhook": 12, "socket": 0}
    counts = found["push_seconds"]["counts"]
    assert (counts["webhook"][0], sum(counts["webhook"])) == (12, 12)
    assert sum(counts["socket"]) == 0
    assert len(counts["socket"]) == len(found["push_seconds"]["bounds"]) + 1


async def test_an_api_that_runs_is_among_the_processes(running_api: Api):
    async def processes():
        return (await running_api.admin.get("/v1/stats")).json()["processes"]

    async def roles():
        return [process["role"] for process in await processes()] == ["api"]

    await wait_until(roles)


async def test_the_api_sends_canaries_while_it_runs(running_api: Api):
    store = running_api.services.store

    async def sent():
        return await store.execute("XRANGE", keys.posts(0), "-", "+")

    ((_, fields),) = await wait_until(sent)
    assert fields[0] == b"k"
    assert abs(int(fields[1]) - now_ms()) < 10_000


@pytest.fixture
async def clock():
    return [now_ms()]


async def test_canaries_visit_every_shard_in_turn(store, clock):
    stop = asyncio.Event()
    sender = Canary(store, SHARDS, backlog_max=10, every_s=0.001, clock_ms=lambda: clock[0])

    async def all_visited() -> bool:
        for shard in range(SHARDS):
            for _, fields in await store.execute("XRANGE", keys.posts(shard), "-", "+"):
                await canary.arrived(store, shard, int(fields[1]))
        clock[0] += 1
        lengths = [await store.execute("XLEN", keys.posts(shard)) for shard in range(SHARDS)]
        return min(lengths) >= 1

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sender.run(stop))
        await wait_until(all_visited)
        stop.set()


async def test_canaries_go_on_when_the_store_is_back(single_store, monkeypatch, clock):
    stop, calls = asyncio.Event(), []
    sender = Canary(single_store, 1, backlog_max=9, every_s=0.001, clock_ms=lambda: clock[0])
    send = sender._send

    async def sometimes(shard: int) -> None:
        calls.append(shard)
        if len(calls) < 3:
            raise StoreUnavailable("away")
        await send(shard)

    monkeypatch.setattr(sender, "_send", sometimes)

    async def sent() -> bool:
        return await single_store.execute("XLEN", keys.posts(0)) == 1

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sender.run(stop))
        await wait_until(sent)
        stop.set()
    assert len(calls) >= 3


async def test_canaries_do_not_pile_up_while_none_comes_through(store, clock):
    sender = Canary(store, 1, backlog_max=3, clock_ms=lambda: clock[0])
    for _ in range(10):
        await sender._send(0)
        clock[0] += 5_000
    assert await store.execute("XLEN", keys.posts(0)) == 2  # at the start and half a minute later
    for _ in range(10):
        await sender._send(0)
        clock[0] += 60_000
    assert await store.execute("XLEN", keys.posts(0)) == 3


async def test_a_post_is_not_taken_for_a_canary(api: Api):
    post = await api.publish()
    entries = await api.services.store.execute(
        "XRANGE", keys.posts(shard_of_id(post["id"])), "-", "+"
    )
    assert [fields[0] for _, fields in entries] == [b"e"]
