"""Acknowledgements on their way out: each is for all before it, so the newest is enough."""

import asyncio
from collections.abc import Awaitable, Callable

EVERY_S = 0.01  # a gateway closes a socket that says more than 500 things a second


class Acks:
    """Sends the newest offset that was done, at once when nothing was sent lately.

    Owned by one socket; `send` raises nothing. `flush` before the socket is closed.
    """

    def __init__(self, send: Callable[[int], Awaitable[None]]) -> None:
        self._send = send
        self._waiting: int | None = None
        self._task: asyncio.Task[None] | None = None

    def done(self, offset: int) -> None:
        """All up to `offset` has been dealt with."""
        self._waiting = offset
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="acks")

    async def flush(self) -> None:
        """Sends what still waits."""
        await self._send_newest()
        await self.stop()

    async def stop(self) -> None:
        """Drops what still waits."""
        self._waiting = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _run(self) -> None:
        while self._waiting is not None:
            await self._send_newest()
            await asyncio.sleep(EVERY_S)

    async def _send_newest(self) -> None:
        offset, self._waiting = self._waiting, None
        if offset is not None:
            await self._send(offset)
