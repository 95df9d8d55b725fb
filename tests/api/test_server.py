"""The API on a real HTTP server."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
import uvicorn

from app.store import keys
from app.store.client import Store
from tests.api.conftest import Api, make_services, serve
from tests.wait import wait_until


@dataclass(frozen=True)
class Served:
    api: Api
    port: int

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.api.secrets['admin']}"}

    def client(self) -> httpx.AsyncClient:
        # Without TLS there is nothing to verify; loading the authorities costs 40 ms.
        return httpx.AsyncClient(base_url=self.base, headers=self.bearer, verify=False)

    async def raw(self, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        return reader, writer


@pytest.fixture
async def served(single_store: Store) -> AsyncIterator[Served]:
    services = make_services(single_store)
    async with serve(services) as api:
        config = uvicorn.Config(
            api.app, loop="none", http="httptools", ws="none", log_config=None, access_log=False
        )
        server = uvicorn.Server(config)
        server.capture_signals = _no_signals
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(server.serve([listener]))
                await wait_until(lambda: server.started)
                yield Served(api, listener.getsockname()[1])
                services.waiters.release()
                server.should_exit = True


def _no_signals():
    import contextlib

    return contextlib.nullcontext()


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
    head = (
        "POST /v1/posts HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n"
        f"authorization: {served.bearer['authorization']}\r\n\r\n"
    )
    reader, writer = await served.raw(head.encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 413")
    writer.close()
    await writer.wait_closed()


async def test_head_brings_no_body(served: Served):
    request = b"HEAD /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    reader, writer = await served.raw(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
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
    request = (
        "GET /v1/users/bob/feed?wait_s=30 HTTP/1.1\r\nhost: x\r\n"
        f"authorization: {served.bearer['authorization']}\r\n\r\n"
    )
    _, writer = await served.raw(request.encode())
    await wait_until(lambda: waiters.waiting == 1)
    writer.close()
    await writer.wait_closed()
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
