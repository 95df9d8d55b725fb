"""The store for tests: the bundled server and a cluster of it, started when first asked for."""

from asyncio import AbstractEventLoop
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest
import uvloop

from app import hidden
from app.store.client import Store
from app.store.embedded import EmbeddedServer
from tests.opened_store import opened
from tests.store_servers import Pair, StoreCluster


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], AbstractEventLoop]]:
    """The loop that the service runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The last lines say which tests in a browser did not run: nobody reads the dots."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.getreports("skipped")
        if report.nodeid.startswith("tests/browser/")
    )
    for reason, count in reasons.items():
        terminalreporter.write_line(f"{count} tests in a browser did not run: {reason}")


@pytest.fixture(autouse=True)
def _secrets_of_one_test_are_not_hidden_in_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hidden, "_hidden", set())
    monkeypatch.setattr(hidden, "_pattern", None)


@pytest.fixture(scope="session")
def single_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(tmp_path_factory.mktemp("store"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def store_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreCluster]:
    cluster = StoreCluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.join()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """One server with a replica that can be made to lag."""
    pair = Pair(tmp_path)
    yield pair
    pair.stop()


@pytest.fixture
def single_store_url(single_server: EmbeddedServer) -> str:
    return single_server.url


@pytest.fixture(params=["single", "cluster"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The test runs twice: on one server and on a cluster."""
    if request.param == "single":
        return request.getfixturevalue("single_server").url
    return request.getfixturevalue("store_cluster").url


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    """An empty store."""
    async with opened(store_url) as store:
        await store.broadcast("FLUSHALL")
        yield store


@pytest.fixture
async def single_store(single_store_url: str) -> AsyncIterator[Store]:
    """An empty store on one server, where a test has nothing to do with clusters."""
    async with opened(single_store_url) as store:
        await store.broadcast("FLUSHALL")
        yield store
