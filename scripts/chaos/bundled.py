"""The bundled store as what is under test: one server, to be killed, stopped and started again."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

from app.store.embedded import EmbeddedServer


class BundledServer:
    def __init__(self, directory: Path) -> None:
        self._server = EmbeddedServer(directory)

    @property
    def url(self) -> str:
        return self._server.url

    async def start(self) -> None:
        await asyncio.to_thread(self._server.start)

    async def restart(self) -> None:
        """Starts it on the same data, once it has ended."""
        while self.is_running:
            await asyncio.sleep(0.01)
        await self.start()

    async def stop(self) -> None:
        self.send(signal.SIGCONT)
        await asyncio.to_thread(self._server.stop)

    def send(self, number: signal.Signals) -> None:
        if (pid := self._server.pid) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    @property
    def is_running(self) -> bool:
        return self._server.pid is not None
