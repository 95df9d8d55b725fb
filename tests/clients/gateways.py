"""A gateway beside that of the service, which can be stopped and started at the same port."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.commands.gateway import make_gateway
from app.commands.opening import Opened
from app.commands.process import process_metrics
from app.gateway.server import Gateway
from app.settings import Settings
from app.store.client import Store
from app.store.schema import open_schema
from tests.flows.service import SETTINGS


class Restartable:
    """One gateway after the other, all at the port of the first."""

    gateway: Gateway

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._running: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._stop = asyncio.Event()
        meta = await open_schema(self._store, self._settings.shards)
        opened = Opened(self._store, meta, self._stop)
        metrics = process_metrics("gateway", self._store.traffic)
        self.gateway = make_gateway(self._settings, opened, metrics)
        self.port = await self.gateway.start("127.0.0.1", self.port)
        self._running = asyncio.create_task(self.gateway.run(self._stop))

    async def stop(self) -> None:
        """With a goodbye to everybody."""
        self._stop.set()
        if self._running is not None:
            await asyncio.wait_for(self._running, 20)

    def cut(self) -> None:
        """Every connection ends at once, and nobody is told."""
        for connection in self.gateway._hub.everybody():
            connection._transport.abort()


@asynccontextmanager
async def restartable(store: Store, **changes: object) -> AsyncIterator[Restartable]:
    """Started; `changes` are settings."""
    one = Restartable(store, Settings.model_validate({**SETTINGS, **changes}))
    await one.start()
    try:
        yield one
    finally:
        await one.stop()
