import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.metrics import Metrics
from workers.metrics import register
from workers.ops import serve_ops
from workers.supervisor import WorkerStats


class Ops:
    """A worker's operations server, and what it says about itself."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.stats = WorkerStats()
        self.metrics = Metrics()
        register(self.metrics, self.stats)


@pytest.fixture
async def ops() -> AsyncIterator[tuple[Ops, httpx.AsyncClient]]:
    made, stop = Ops(), asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(
            serve_ops(listener, made.metrics, lambda: made.reason, stop), name="ops"
        )
        port = listener.getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            yield made, client
        stop.set()
        async with asyncio.timeout(5):
            await serving


async def test_a_worker_that_lives_says_so_even_when_it_is_not_ready(ops):
    made, client = ops
    made.reason = "the store is away"
    assert (await client.get("/healthz")).status_code == 200


async def test_readiness_gives_the_reason_why_not_and_then_that_it_is(ops):
    made, client = ops
    made.reason = "the store has not answered"
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "the store has not answered"
    made.reason = None
    assert (await client.get("/readyz")).status_code == 200


async def test_metrics_show_what_the_worker_has_counted(ops):
    made, client = ops
    made.stats.fanout.recipients = 17
    made.stats.dispatch.results["timeout"] += 2
    made.stats.dispatch.states["R"] += 1
    made.stats.tenure.owned["sender"] = 3
    made.stats.watcher.failures = 4
    answer = await client.get("/metrics")
    samples = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples["moments_recipients_total", ()] == 17
    assert samples["moments_attempts_total", ("timeout",)] == 2
    assert samples["moments_deliveries_settled_total", ("parked_retrying",)] == 1
    assert samples["moments_leases_held", ("sender",)] == 3
    assert samples["moments_store_waits_total", ("watcher",)] == 4
    assert samples["moments_deliveries_waiting", ()] == 0


async def test_nothing_else_is_there(ops):
    _, client = ops
    assert (await client.get("/")).status_code == 404
    assert (await client.post("/metrics")).status_code == 405


async def test_it_stops_when_told_in_spite_of_a_connection_that_is_kept():
    stop = asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(
            serve_ops(listener, Metrics(), lambda: None, stop), name="ops"
        )
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
        stop.set()
        async with asyncio.timeout(5):
            await serving
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_being_cancelled_ends_it_as_well():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(
            serve_ops(listener, Metrics(), lambda: None, asyncio.Event()), name="ops"
        )
        async with httpx.AsyncClient() as client:
            await client.get(f"http://127.0.0.1:{listener.getsockname()[1]}/healthz")
        serving.cancel()
        async with asyncio.timeout(5):
            await asyncio.wait([serving])
        assert serving.cancelled()
