"""A service for each flow: all its parts, once on one server and once on a cluster of three."""

from collections.abc import AsyncIterator

import pytest

from app.store.client import Store
from tests.flows.service import Service, serve
from tests.receivers import Receiver


@pytest.fixture
async def service(store: Store) -> AsyncIterator[Service]:
    async with serve(store) as service:
        yield service


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Accepts everything, unless a test says otherwise."""
    async with Receiver() as receiver:
        yield receiver
