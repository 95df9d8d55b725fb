"""Turns: deliveries that were read and may begin, a few of each author by turns.

A post to ten thousand is read in an instant, and beginning it takes a third of a second. Were that
done in the order of reading, a post to a hundred that comes a moment later would wait all that
time; were it done in one go, so would everything else on the loop; and without a pause in between,
whatever else shares the cores.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")

ROUND_S = 0.001  # at least, from the beginning of one round to that of the next
AT_ONCE = 32  # begun before the loop gets to do something else: about a millisecond
# Of one author in a round: at first, as long as most posts last, and then.
FIRST, FIRST_UP_TO, THEN = 32, 256, 8


class _Line(Generic[T]):
    """What waits of one author. `begun`: since it was last empty."""

    __slots__ = ("begun", "items")

    def __init__(self) -> None:
        self.items: deque[T] = deque()
        self.begun = 0


class Turns(Generic[T]):
    """All shards of one process put in what they have read. An author's own stay in order."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, _Line[T]] = OrderedDict()  # by author; none is empty
        self._added = asyncio.Event()

    def __len__(self) -> int:
        return sum(len(line.items) for line in self._lines.values())

    def add(self, author: str, items: Sequence[T]) -> None:
        if not items:
            return
        line = self._lines.get(author)
        if line is None:
            line = self._lines[author] = _Line()
        line.items.extend(items)
        self._added.set()

    def take_back(self, is_wanted: Callable[[T], bool]) -> list[T]:
        """Takes out whatever is wanted back, in its order."""
        taken: list[T] = []
        for author, line in list(self._lines.items()):
            taken += [item for item in line.items if is_wanted(item)]
            line.items = deque(item for item in line.items if not is_wanted(item))
            if not line.items:
                del self._lines[author]
        return taken

    async def run(self, begin: Callable[[T], None]) -> None:
        """Begins what is put in, until it is cancelled."""
        while True:
            await self._added.wait()
            next_s = monotonic() + ROUND_S
            await self._round(begin)
            if not self._lines:
                self._added.clear()
            else:
                await asyncio.sleep(max(next_s - monotonic(), 0))

    async def _round(self, begin: Callable[[T], None]) -> None:
        """Some of each author who is here now."""
        begun = 0
        for _ in range(len(self._lines)):
            if not self._lines:
                return
            author, line = self._lines.popitem(last=False)
            count = min(FIRST if line.begun < FIRST_UP_TO else THEN, len(line.items))
            line.begun += count
            some = [line.items.popleft() for _ in range(count)]
            if line.items:
                self._lines[author] = line
            for item in some:
                begin(item)
            begun += count
            if begun >= AT_ONCE:
                begun = 0
                await asyncio.sleep(0)
