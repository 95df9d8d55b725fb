"""Timers of lanes: a heap in which a timer that was replaced stays until its time has come."""

from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

from workers.lane import Lane

T = TypeVar("T")

_STALE_MAX = 64  # more replaced timers than this, and than live ones, are swept out


class Timers(Generic[T]):
    """At most one live timer a lane; `lane.timer_s` says when it is, None that there is none."""

    __slots__ = ("_heap", "_number", "live")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Lane[T]]] = []
        self.live = 0
        self._number = count()  # keeps the heap from comparing lanes

    def set(self, lane: Lane[T], at_s: float) -> None:
        """Wakes a lane at `at_s`, or before when it has an earlier timer already."""
        if lane.timer_s is None:
            self.live += 1
        elif lane.timer_s <= at_s:
            return
        lane.timer_s = at_s
        heappush(self._heap, (at_s, next(self._number), lane))
        if len(self._heap) > 2 * self.live + _STALE_MAX:
            self._heap = [timer for timer in self._heap if timer[2].timer_s == timer[0]]
            heapify(self._heap)

    def cancel(self, lane: Lane[T]) -> None:
        if lane.timer_s is not None:
            lane.timer_s = None
            self.live -= 1

    def next_at_s(self) -> float | None:
        heap = self._heap
        while heap and heap[0][2].timer_s != heap[0][0]:
            heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, now_s: float) -> Lane[T] | None:
        """A lane whose time has come, without a timer from now on."""
        at_s = self.next_at_s()
        if at_s is None or at_s > now_s:
            return None
        lane = heappop(self._heap)[2]
        self.cancel(lane)
        return lane
