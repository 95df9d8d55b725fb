"""How many deliveries this process holds in memory, all shards together."""

import asyncio


class Room:
    """A count with a bound that readers keep to, and who waits until there is room again."""

    __slots__ = ("_max", "_waiting", "held")

    def __init__(self, held_max: int) -> None:
        self._max = held_max
        self._waiting: set[asyncio.Event] = set()
        self.held = 0

    @property
    def left(self) -> int:
        return max(self._max - self.held, 0)

    def take(self, count: int) -> None:
        """May go above the bound: who has read one entry holds all that is in it."""
        self.held += count

    def give(self, count: int) -> None:
        self.held -= count
        if self._waiting and self.held < self._max:
            for waiting in self._waiting:
                waiting.set()
            self._waiting.clear()

    def wait(self, woken: asyncio.Event) -> None:
        """Sets the event once, when there is room: any shard's end of work may make it."""
        self._waiting.add(woken)

    def forget(self, woken: asyncio.Event) -> None:
        self._waiting.discard(woken)
