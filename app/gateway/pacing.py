"""Long work on the loop in small portions, so that sockets and timers get their turn."""

import asyncio
from time import perf_counter
from typing import Final

PORTION_S: Final = 0.004


class Pacer:
    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until = perf_counter() + PORTION_S

    @property
    def is_due(self) -> bool:
        return perf_counter() >= self._until

    async def rest(self) -> None:
        """Lets the loop do everything else that is ready."""
        await asyncio.sleep(0)
        self._until = perf_counter() + PORTION_S
