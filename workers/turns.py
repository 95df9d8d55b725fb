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
AT_ONCE = 32  # of one author in a round, and of all before the loop gets to do something else
# Of large events. Slower costs more, since work comes in smaller pieces; a post to a thousand is
# over in the time that two of ten thousand would take from the others.
AT_ONCE_OF_LARGE = 8

_Key = tuple[str, bool]  # the author, and whether these are of large events


class Turns(Generic[T]):
    """All shards of one process put in what they have read. What an author has of small events
    stays in order, and so does what they have of large ones."""

    def __init__(self) -> None:
        self._lines: OrderedDict[_Key, deque[T]] = OrderedDict()  # none is empty
        self._added = asyncio.Event()

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def add(self, author: str, items: Sequence[T], *, is_large: bool = False) -> None:
        if not items:
            return
        key = (author, is_large)
        line = self._lines.get(key)
        if line is None:
            self._lines[key] = deque(items)
        else:
            line.extend(items)
        self._added.set()

    def take_back(self, is_wanted: Callable[[T], bool]) -> list[T]:
        """Takes out whatever is wanted back, in its order."""
        taken: list[T] = []
        for key, line in list(self._lines.items()):
            taken += [item for item in line if is_wanted(item)]
            rest = deque(item for item in line if not is_wanted(item))
            if rest:
                self._lines[key] = rest
            else:
                del self._lines[key]
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
            key, line = self._lines.popitem(last=False)
            _, is_large = key
            count = min(AT_ONCE_OF_LARGE if is_large else AT_ONCE, len(line))
            some = [line.popleft() for _ in range(count)]
            if line:
                self._lines[key] = line
            for item in some:
                begin(item)
            begun += count
            if begun >= AT_ONCE:
                begun = 0
                await asyncio.sleep(0)
