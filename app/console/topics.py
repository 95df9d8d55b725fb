"""What browsers watch: one poller for each topic of a process, however many watch it.

Nothing is asked of the store for a topic that nobody watches. Whoever is too slow for what changes
is not sent all of it later, but everything anew when they are ready again.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, Protocol

from app.api.stats import Stats
from app.errors import MomentsError, StoreError
from app.wire import encode_json

log = logging.getLogger(__name__)

PENDING_MAX: Final = 8  # messages that wait for one watcher
NUDGE_GAP_S: Final = 0.2  # at the soonest this long after the look before
AWAY_S: Final = 2.0  # until the store is asked again after it did not answer


class Source(Protocol):
    """What a topic tells of. `pause_s` is how long to wait until the next look."""

    @property
    def pause_s(self) -> float: ...

    async def look(self, *, thorough: bool) -> str | None:
        """A message with what is new, None when nothing is. Raises StoreError, after which only
        `whole` tells all, and another `MomentsError` when there is no such thing (any more)."""
        ...

    def whole(self) -> str:
        """A message with everything, after the first look."""
        ...


class Watcher:
    """One socket's part of a topic: what it is still to be sent."""

    def __init__(self) -> None:
        self._pending: deque[str] = deque()
        self._news = asyncio.Event()
        self.needs_whole = True

    def give(self, message: str) -> bool:
        """False when it has too much before it already; then it needs all of it anew."""
        if len(self._pending) >= PENDING_MAX:
            self._pending.clear()
            self.needs_whole = True
            return False
        self._pending.append(message)
        self._news.set()
        return True

    async def next(self) -> str:
        while not self._pending:
            self._news.clear()
            await self._news.wait()
        return self._pending.popleft()


class Topic:
    """One topic and those who watch it."""

    def __init__(self, name: str, source: Source, stats: Stats) -> None:
        self.name = name
        self._source = source
        self._stats = stats
        self.watchers: set[Watcher] = set()
        self._wake = asyncio.Event()
        self._has_looked = False
        self._is_thorough = False

    def enter(self, watcher: Watcher) -> None:
        self.watchers.add(watcher)
        if self._has_looked:
            watcher.give(self._source.whole())
            watcher.needs_whole = False

    def nudge(self) -> None:
        """Something was done that may have changed it: look again soon, and closely."""
        self._is_thorough = True
        self._wake.set()

    async def run(self) -> None:
        """Looks and tells until it is cancelled, or there is no such thing any more."""
        while True:
            thorough, self._is_thorough = self._is_thorough, False
            pause_s = AWAY_S
            try:
                message = await self._source.look(thorough=thorough)
            except StoreError:
                self._is_thorough = True
                for watcher in self.watchers:
                    watcher.needs_whole = True  # the look may have found something before it failed
                self._tell(encode_json({"type": "away"}).decode())
            except MomentsError as error:
                self._tell(encode_json({"type": "gone", "detail": str(error)}).decode())
            else:
                self._hand_out(message)
                self._has_looked = True
                pause_s = self._source.pause_s
            await self._rest(pause_s)

    def _hand_out(self, message: str | None) -> None:
        whole: str | None = None
        for watcher in self.watchers:
            if watcher.needs_whole:
                whole = whole or self._source.whole()
                watcher.needs_whole = False
                watcher.give(whole)
            elif message is not None and not watcher.give(message):
                self._stats.console_limits["behind"] += 1

    def _tell(self, message: str) -> None:
        for watcher in self.watchers:
            watcher.give(message)

    async def _rest(self, pause_s: float) -> None:
        await asyncio.sleep(min(NUDGE_GAP_S, pause_s))
        try:
            async with asyncio.timeout(max(pause_s - NUDGE_GAP_S, 0.0)):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()


class Topics:
    """All topics that somebody of this process watches. `makers` has, by the first word of a
    topic's name, what makes its source of the rest."""

    def __init__(self, makers: Mapping[str, Callable[[str], Source]], stats: Stats) -> None:
        self._makers = makers
        self._stats = stats
        self._running: dict[str, tuple[Topic, asyncio.Task[None]]] = {}

    def knows(self, name: str) -> bool:
        return name.partition(":")[0] in self._makers

    @property
    def running(self) -> frozenset[str]:
        return frozenset(self._running)

    @asynccontextmanager
    async def watch(self, name: str) -> AsyncGenerator[tuple[Topic, Watcher, asyncio.Task[None]]]:
        """A place among those who watch a topic, and the task that tells them, which must not end
        before they leave."""
        if name not in self._running:
            word, _, rest = name.partition(":")
            topic = Topic(name, self._makers[word](rest), self._stats)
            self._running[name] = topic, asyncio.create_task(topic.run(), name=f"watch {name}")
        topic, task = self._running[name]
        watcher = Watcher()
        topic.enter(watcher)
        try:
            yield topic, watcher, task
        finally:
            topic.watchers.discard(watcher)
            if not topic.watchers and self._running.get(name, (None,))[0] is topic:
                del self._running[name]
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
