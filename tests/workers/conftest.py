"""A rig on each kind of store, and a receiver that accepts all until it is told otherwise."""

from collections.abc import AsyncIterator

import pytest

from app.store.client import Store
from tests.receivers import Receiver
from tests.workers.rig import Rig


@pytest.fixture
def rig(store: Store) -> Rig:
    return Rig.on(store)


@pytest.fixture
def single_rig(single_store: Store) -> Rig:
    return Rig.on(single_store)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver
