"""The API on a real HTTP server."""

import json
from collections.abc import AsyncIterator

import pytest

from app.store import keys
from app.store.client import Store
from tests.api.conftest import Api, make_services, serve
from tests.api.served import Served
from tests.api.served import served as serve_http
from tests.wait import wait_until


@pytest.fixture
async def served(single_api: Api) -> AsyncIterator[Served]:
    async with serve_http(single_api) as made:
        yield made


async def test_a_post_goes_over_the_wire(served: Served):
    async with served.client() as client:
        answer = await client.post("/v1/posts", json={"author": "ann", "data": {"x": "ü"}})
        assert answer.status_code == 202
        again = await client.get(f"/v1/posts/{answer.json()['id']}")
    assert again.json() == answer.json()


async def test_a_body_in_chunks_beyond_the_limit_is_413(served: Served):
    async def chunks():
        yield b'{"author": "ann", "data": {"x": "'
        for _ in range(300):
            yield b"x" * 1_024
        yield b'"}}'

    async with served.client() as client:
        answer = await client.post("/v1/posts", content=chunks())
        assert answer.status_code == 413
        assert (await client.get("/healthz")).status_code == 200


async def test_an_announced_size_beyond_the_limit_is_413_without_reading(served: Served):
    async with served.raw(served.head("POST /v1/posts", content_length="99999999999")) as raw:
        assert (await raw.answer())[0] == 413


async def test_head_brings_no_body(served: Served):
    async with served.raw(served.head("HEAD /healthz", connection="close")) as raw:
        head, _, body = (await raw.reader.read()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert body == b""


async def test_an_import_streams(served: Served):
    async def lines():
        for n in range(2_000):
            yield json.dumps({"kind": "follow", "a": f"u{n}", "b": "ann"}).encode() + b"\n"

    async with served.client() as client:
        answer = await client.post("/v1/graph:import", content=lines())
    assert answer.json()["created"] == 2_000


async def test_a_client_that_hangs_up_while_waiting_is_noticed(served: Served):
    waiters = served.api.services.waiters
    async with served.raw(served.head("GET /v1/users/bob/feed?wait_s=30")):
        await wait_until(lambda: waiters.waiting == 1)
    await wait_until(lambda: waiters.waiting == 0)
    await wait_until(lambda: served.api.services.stats.by_status[499] == 1)


async def test_the_lifespan_runs_the_node_and_takes_it_away(single_store: Store):
    services = make_services(single_store)
    async with serve(services) as api:
        async with api.app.router.lifespan_context(api.app):

            async def alive():
                return await single_store.execute("ZSCORE", keys.NODES, "testnode")

            await wait_until(alive)
        assert await alive() is None
