"""The bundled store as one of the crew: started first, watched, stopped last."""

import asyncio
import contextlib
import os
import signal
import time

from app.commands.children import POLICY, Report
from app.commands.restart import Deaths, RestartPolicy, note_death, restart_delay_s
from app.errors import CommandFailed, EmbeddedServerError
from app.store.embedded import EmbeddedServer

_LOOK_EVERY_S = 0.25


class BundledStore:
    """An `EmbeddedServer`, whose calls block, kept running without blocking the loop."""

    name = "store"

    def __init__(
        self, server: EmbeddedServer, report: Report, policy: RestartPolicy = POLICY
    ) -> None:
        self.ready = asyncio.Event()
        self._server = server
        self._report = report
        self._policy = policy
        self._stopping = asyncio.Event()
        self._starting: asyncio.Future[str] | None = None

    async def start(self, asked: asyncio.Event) -> str | None:
        """Its URL, once it has read its data; None when `asked` to stop before that.

        Raises CommandFailed when it cannot be started.
        """
        starting = self._begin_start()
        asking = asyncio.ensure_future(asked.wait())
        try:
            await asyncio.wait({starting, asking}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                return None
            url = await starting
        except EmbeddedServerError as error:
            raise CommandFailed(str(error)) from error
        finally:
            asking.cancel()
        self.ready.set()
        return url

    async def run(self) -> None:
        """Starts it again whenever it has died, until `stop`."""
        deaths, since = Deaths(ever_ready=True), time.monotonic()
        while not await self._stops_within(_LOOK_EVERY_S):
            if self._server.pid is not None:
                continue
            deaths = note_death(self._policy, deaths, time.monotonic() - since)
            delay_s = restart_delay_s(self._policy, deaths)
            assert delay_s is not None  # it has been ready
            await self._report(f"{self.name} ended and is started again", restart_s=delay_s)
            if await self._stops_within(delay_s):
                return
            try:
                await asyncio.shield(self._begin_start())
            except EmbeddedServerError as error:
                await self._report(str(error))
            since = time.monotonic()

    def _begin_start(self) -> asyncio.Future[str]:
        loop = asyncio.get_running_loop()
        self._starting = loop.run_in_executor(None, self._server.start)
        return self._starting

    async def _stops_within(self, limit_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), limit_s)
        return self._stopping.is_set()

    async def stop(self, grace_s: float) -> None:
        """Lets it write everything and end; kills it after `grace_s`. May be called twice."""
        self._stopping.set()
        await asyncio.to_thread(self._server.stop, grace_s)
        if self._starting is not None and not self._starting.done():
            # It was being started just now: that ends with the process, or has to be undone.
            await asyncio.wait({self._starting})
            await asyncio.to_thread(self._server.stop, grace_s)

    def kill(self) -> None:
        """Ends it at once. What it has acknowledged is in its file."""
        self._stopping.set()
        if (pid := self._server.pid) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
