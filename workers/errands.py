"""Errands: tasks of one shard that nobody waits for. Each is watched, and ends with the shard."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)


class Errands:
    """Up to `at_once_max` of them, all of one kind, which names them in the log."""

    def __init__(self, kind: str, at_once_max: int) -> None:
        self._kind = kind
        self._at_once_max = at_once_max
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def is_full(self) -> bool:
        return len(self._under_way) >= self._at_once_max

    def begin(self, errand: Coroutine[Any, Any, None], endpoint: str) -> None:
        task = asyncio.create_task(errand, name=f"{self._kind}-{endpoint}")
        self._under_way.add(task)
        task.add_done_callback(self._note_end)

    async def close(self) -> None:
        """Cuts those under way: whoever asked will hear that nobody has answered."""
        under_way = list(self._under_way)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    def _note_end(self, task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s failed", self._kind, exc_info=error)
