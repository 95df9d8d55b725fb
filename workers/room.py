"""How many deliveries this process holds in memory, and with what bodies, all shards together."""

import asyncio

BYTES_MAX = 64 * 1024 * 1024


class Room:
    """Two counts with bounds that readers keep to, and who waits until there is room again."""

    __slots__ = ("_bytes_max", "_max", "_waiting", "held", "held_bytes", "paused")

    def __init__(self, held_max: int, bytes_max: int = BYTES_MAX) -> None:
        self._max = held_max
        self._bytes_max = bytes_max
        self._waiting: set[asyncio.Event] = set()
        self.held = 0
        self.held_bytes = 0
        self.paused = 0  # times that somebody began to wait for room

    @property
    def left(self) -> int:
        return 0 if self.is_full else self._max - self.held

    @property
    def is_full(self) -> bool:
        return self.held >= self._max or self.held_bytes >= self._bytes_max

    def take(self, count: int, size: int) -> None:
        """May go above the bounds: who has read one entry holds all that is in it."""
        self.held += count
        self.held_bytes += size

    def give(self, count: int, size: int) -> None:
        self.held -= count
        self.held_bytes -= size
        if self._waiting and not self.is_full:
            for waiting in self._waiting:
                waiting.set()
            self._waiting.clear()

    def wait(self, woken: asyncio.Event) -> None:
        """Sets the event once, when there is room: any shard's end of work may make it."""
        self.paused += woken not in self._waiting
        self._waiting.add(woken)

    def forget(self, woken: asyncio.Event) -> None:
        self._waiting.discard(woken)
