"""The HTTP client is tested on the event loop of production and on the standard library's."""

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest
import uvloop

from app.domain.proxy import parse_proxy
from app.guard import Guard
from tests.certificates import Authority
from tests.workers.http.sending import LOOPBACK, PLAIN_ONLY, MakeClient, Names
from workers.http.client import Client
from workers.http.limits import Limits
from workers.http.proxied import ProxyDialer
from workers.http.tls import client_context


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def complaints() -> AsyncIterator[list[dict[str, Any]]]:
    """What the event loop was told about errors nobody handled."""
    found: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context))
    yield found
    gc.collect(1)
    assert found == []


@pytest.fixture
async def make_client(complaints: list[dict[str, Any]]) -> AsyncIterator[MakeClient]:
    """Makes clients that may reach loopback; when the test is over, nothing of them may be left."""
    clients: list[Client] = []
    tasks_before = asyncio.all_tasks()

    def make(
        *,
        allow: Sequence[Any] = LOOPBACK,
        resolve: Callable[[str], Awaitable[Sequence[str]]] | None = None,
        tls: ssl.SSLContext | None = None,
        proxy: str | None = None,
        resolves: bool = True,
        **limits: Any,
    ) -> Client:
        resolve = resolve or Names(localhost=["127.0.0.1"]).resolve
        guard = Guard(allow=allow, resolve=resolve, resolves=resolves)
        bounds, tls = Limits(**limits), tls or PLAIN_ONLY
        dialer = None if proxy is None else ProxyDialer(parse_proxy(proxy), resolve, tls, bounds)
        client = Client(guard, limits=bounds, tls=tls, proxy=dialer)
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close(grace_s=0)
        stats = client.stats
        assert (stats.open, stats.idle, stats.in_flight, stats.waiting) == (0, 0, 0, 0)
    left = asyncio.all_tasks() - tasks_before - {asyncio.current_task()}
    assert not [task for task in left if "_serve" not in repr(task)]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def trusting(authority: Authority) -> ssl.SSLContext:
    return client_context(authority.ca_file)
