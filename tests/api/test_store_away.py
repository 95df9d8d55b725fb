"""The store refuses connections, falls silent, or is full: every call says so, in time, and goes
on by itself when the store is back.
"""

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit

import httpx
import pytest

from app.api.app import ALL_CALLS
from app.api.call import Call
from app.api.services import Limits
from app.store.apikeys import ApiKeys
from app.store.client import Store
from tests.api.conftest import Api, make_services, serve, snapshot
from tests.api.world import World, good_request, make_world
from tests.opened_store import opened
from tests.store.proxy import Proxy, proxy_to

# What can be answered without the store by whoever is known already.
ANSWERED = {
    "operations_health": 200,
    "operations_metrics": 200,
    "app_openapi": 200,
    "app_asyncapi": 200,
    "tokens_create": 201,
}
ANSWER_TIMEOUT_S = 1.0
# Well below the 5 to 10 s after which the store's own connection is cut; machines may be busy.
LATE_S = 2.0


def name(call: Call) -> str:
    return f"{call.handler.__module__.rpartition('.')[2]}_{call.handler.__name__}"


async def send(api: Api, world: World, call: Call) -> httpx.Response:
    return await api.admin.request(call.method, world.url(call), **good_request(call))


@asynccontextmanager
async def known_api(store: Store) -> AsyncIterator[Api]:
    """An API that does not ask the store again for keys it has seen, and answers soon."""
    keys = ApiKeys(store, api_keys_max=8, cache_s=3_600)
    limits = Limits(answer_timeout_s=ANSWER_TIMEOUT_S, ping_timeout_s=0.1)
    services = dataclasses.replace(make_services(store, limits=limits), api_keys=keys)
    async with serve(services) as api:
        await api.admin.get("/v1/keys")
        yield api


@asynccontextmanager
async def behind(proxy: Proxy) -> AsyncIterator[tuple[Api, World]]:
    """An API that knows its store through a proxy."""
    async with opened(proxy.url) as store, known_api(store) as api:
        yield api, await make_world(api)


@pytest.fixture
async def proxied(
    single_store: Store, single_store_url: str
) -> AsyncIterator[tuple[Proxy, Api, World]]:
    async with proxy_to(urlsplit(single_store_url).path) as proxy, behind(proxy) as (api, world):
        yield proxy, api, world


async def check_all(api: Api, world: World) -> dict[str, httpx.Response]:
    """Every call, each answered in time and by a 503 that says when to come back."""
    async with asyncio.TaskGroup() as tasks:
        checks = {name(call): tasks.create_task(check(api, world, call)) for call in ALL_CALLS}
    return {name: check.result() for name, check in checks.items()}


async def check(api: Api, world: World, call: Call) -> httpx.Response:
    began = time.monotonic()
    answer = await send(api, world, call)
    assert time.monotonic() - began < ANSWER_TIMEOUT_S + LATE_S, name(call)
    expected = ANSWERED.get(name(call), 503)
    assert answer.status_code == expected, f"{name(call)}: {answer.text}"
    if expected == 503:
        assert answer.headers["content-type"] == "application/problem+json"
        assert 1 <= int(answer.headers["retry-after"]) <= 30
        word = "not-ready" if name(call) == "operations_ready" else "unavailable"
        assert answer.json()["type"] == f"urn:moments:problem:{word}"
    return answer


async def check_back(api: Api, world: World) -> None:
    for call in ALL_CALLS:
        if call.method == "GET" and name(call) != "operations_ready":
            assert (await send(api, world, call)).status_code == 200, name(call)


async def test_a_store_that_cannot_be_reached_is_a_503_on_every_call(
    single_store: Store, single_store_url: str
):
    path = urlsplit(single_store_url).path
    async with proxy_to(path) as proxy, behind(proxy) as (api, world):
        await proxy.close()
        answers = await check_all(api, world)
        assert answers["graph_load"].json()["lines_done"] == 0
        async with proxy_to(path, port=proxy.port):
            await check_back(api, world)


async def test_a_store_that_falls_silent_is_a_503_within_the_stated_time(proxied):
    proxy, api, world = proxied
    async with proxy.losing_replies():
        answers = await check_all(api, world)
    refused = [answer for answer in answers.values() if "problem:unavailable" in answer.text]
    assert api.services.stats.refusals.by_kind["unavailable"] == len(refused) > 0
    await check_back(api, world)


async def test_who_calls_cannot_be_told_without_the_store(proxied):
    proxy, api, _ = proxied
    async with proxy.losing_replies(), api.client("mk_" + "x" * 43) as client:
        for path in ("/v1/users/bob/feed", "/v1/keys"):
            answer = await client.get(path)
            assert answer.status_code == 503
            assert "www-authenticate" not in answer.headers


async def test_a_long_poll_whose_store_falls_silent_is_a_503_not_much_later(proxied):
    proxy, api, _ = proxied
    async with proxy.losing_replies():
        began = time.monotonic()
        answer = await api.admin.get("/v1/users/eve/feed?wait_s=0.2")
        assert answer.status_code == 503
        assert time.monotonic() - began < 0.2 + ANSWER_TIMEOUT_S + LATE_S
    assert api.services.waiters.waiting == 0


async def test_an_import_whose_store_falls_silent_says_how_far_it_came(proxied):
    proxy, api, _ = proxied
    line = b'{"kind": "follow", "a": "u%d", "b": "v%d"}\n'

    async with AsyncExitStack() as stack:

        async def body() -> AsyncIterator[bytes]:
            yield b"".join(line % (n, n % 300) for n in range(600))
            await stack.enter_async_context(proxy.losing_replies())
            yield b"".join(line % (n, n % 300) for n in range(600, 1_200))

        answer = await api.admin.post("/v1/graph:import", content=body())
    assert answer.status_code == 503
    assert (answer.json()["created"], answer.json()["lines_done"]) == (500, 500)


# With a full store whatever only reads, or removes something first, still works (the store lets a
# script go on that has begun to write); the rest must leave nothing behind.
WORKS_WHEN_FULL = {
    **ANSWERED,
    "feed_move_cursor": 200,
    "graph_unfriend": 204,
    "graph_unfollow": 204,
    "graph_unblock": 204,
    "endpoints_delete": 204,
    "endpoints_change": 200,
    "endpoints_enable": 200,
    "endpoints_verify": 409,  # it is verified
    "keys_revoke": 204,
    "deliveries_replay": 202,
    "deliveries_retry": 202,
    "endpoints_recover": 202,
}


@asynccontextmanager
async def full(store: Store) -> AsyncIterator[None]:
    (found,) = await store.broadcast("CONFIG", "GET", "maxmemory")
    await store.broadcast("CONFIG", "SET", "maxmemory", 1)
    try:
        yield
    finally:
        await store.broadcast("CONFIG", "SET", "maxmemory", found[1])


@pytest.mark.parametrize("call", ALL_CALLS, ids=name)
async def test_a_full_store_is_a_503_on_every_call_that_needs_room(single_store: Store, call: Call):
    async with known_api(single_store) as api:
        world = await make_world(api)
        before = await snapshot(single_store)
        async with full(single_store):
            answer = await send(api, world, call)
        expected = WORKS_WHEN_FULL.get(name(call), 200 if call.method == "GET" else 503)
        if name(call) == "operations_ready":
            expected = 503
        assert answer.status_code == expected, answer.text
        if call.method != "GET" and expected == 503:
            assert answer.json()["type"] == "urn:moments:problem:store-full"
            assert answer.headers["retry-after"] == "30"
            assert await snapshot(single_store) == before
        assert (await api.admin.get("/v1/keys")).status_code == 200
