"""An api on a real store, whose every answer is held against its description."""

from collections.abc import AsyncIterator

import pytest

from app.store.client import Store
from app.store.graph import Graph
from tests.api.conftest import SHARDS, Api, make_services, serve

EDGES_MAX = 1_000_000


@pytest.fixture
async def api(single_store: Store) -> AsyncIterator[Api]:
    limits = dict.fromkeys(("friends_max", "follows_max", "blocks_max"), EDGES_MAX)
    graph = Graph(single_store, SHARDS, **limits)
    async with serve(make_services(single_store, graph=graph)) as api:
        yield api
