"""A service for each flow: all its parts, once on one server and once on a cluster of three.

On the one server it is the user of `store.acl`, who may do no more than the service has to: a flow
that needs more fails.
"""

from collections.abc import AsyncIterator, Iterator

import pytest

from app.store.client import Store
from tests.flows.service import Service, serve
from tests.least_privilege import GuardedServer
from tests.opened_store import opened
from tests.receivers import Receiver


@pytest.fixture(scope="session")
def guarded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedServer]:
    server = GuardedServer(tmp_path_factory.mktemp("guarded"), appendonly="yes")
    yield server
    server.stop()


@pytest.fixture(params=["single", "cluster"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """An empty store."""
    if request.param == "cluster":
        async with opened(request.getfixturevalue("store_cluster").url) as store:
            await store.broadcast("FLUSHALL")
            yield store
        return
    guarded: GuardedServer = request.getfixturevalue("guarded_server")
    guarded.all_powerful.flushall()
    async with opened(guarded.url_with_password) as store:
        yield store
    assert guarded.refused() == []


@pytest.fixture
async def service(store: Store) -> AsyncIterator[Service]:
    async with serve(store) as service:
        yield service


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Accepts everything, unless a test says otherwise."""
    async with Receiver() as receiver:
        yield receiver
