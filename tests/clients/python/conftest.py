"""One service for the tests of a module, which keep apart by the users they speak of."""

from collections.abc import AsyncIterator, Iterator

import pytest

from app.store.embedded import EmbeddedServer
from moments_client import Moments
from tests.clients.python.live import Live, live


@pytest.fixture(scope="module")
def running(single_server: EmbeddedServer) -> Iterator[Live]:
    with live(single_server.url) as found:
        yield found


@pytest.fixture
async def moments(running: Live) -> AsyncIterator[Moments]:
    """A client with the admin key."""
    async with Moments(running.url, running.key, socket_url=running.socket_url) as moments:
        yield moments
