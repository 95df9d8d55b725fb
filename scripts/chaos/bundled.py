"""The bundled store as what is under test: one server, to be killed, stopped and started again."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

from app.store.embedded import EmbeddedServer
from scripts.chaos.plan import Act

LOOK_S = 0.01


class BundledServer:
    fails_over = False

    def __init__(self, directory: Path) -> None:
        self._server = EmbeddedServer(directory)

    @property
    def url(self) -> str:
        return self._server.url

    async def start(self) -> None:
        await asyncio.to_thread(self._server.start)

    async def hit(self, act: Act, hold_s: float) -> None:
        """Stops it for so long, or ends it and starts it on the same data after so long."""
        if act is Act.STOP:
            self._send(signal.SIGSTOP)
            await asyncio.sleep(hold_s)
            self._send(signal.SIGCONT)
            return
        self._send(signal.SIGTERM if act is Act.TERM else signal.SIGKILL)
        await asyncio.sleep(hold_s)
        while self._server.pid is not None:
            await asyncio.sleep(LOOK_S)
        await self.start()

    async def stop(self) -> None:
        self._send(signal.SIGCONT)
        await asyncio.to_thread(self._server.stop)

    def _send(self, number: signal.Signals) -> None:
        if (pid := self._server.pid) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
