"""A store that is closed again, whatever the test does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.store.client import Store, connect


@asynccontextmanager
async def opened(
    url: str, password: str | None = None, **timeouts_s: float
) -> AsyncIterator[Store]:
    store = connect(url, password=password, **timeouts_s)
    try:
        yield store
    finally:
        await store.close()
