"""Lanes: which delivery may be sent now, so that no endpoint or host holds up the others.

A delivery needs, in this order, a place under its endpoint's in-flight limit, a token of its
endpoint's rate, a slot of its host and a slot of the process. Whoever lacks a slot stands in line
for it; lines hold lanes, not deliveries, and a lane gets one start a turn. Each operation is O(1),
amortised: nothing is ever searched, and a lane vanishes once it has nothing waiting or under way.

Slow endpoints would collect the slots of the process, since only they keep them. Four rules:

- An endpoint is slow when its last request took `slow_s`, or none of those under way has come
  back for that long. All slow ones together get half of the process; what waits for one that gets
  nothing overflows. Being slow is remembered while a lane is away.
- An endpoint whose last request was not answered before its deadline gets one at a time until one
  is: each costs a connection, and would take the loop from the others.
- From half of the process on, only endpoints that have just answered quickly get more than one
  request under way; from three quarters on, nobody does.
- A host's queue, and that of the slow, may grow only while it is shorter than the room left
  (Choudhury & Hahne, "Dynamic queue length thresholds", 1998): however large one grows, the
  others find room.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, TypeVar

from app.domain.bucket import Bucket, Rate
from workers.lane import (
    CLOCK,
    ENDPOINT_IN_FLIGHT,
    ENDPOINT_QUEUE,
    FAST,
    HOST,
    HOST_IN_FLIGHT,
    IN_FLIGHT,
    MOVED,
    NOWHERE,
    QUEUED,
    RATE,
    SHARE,
    SILENT,
    SILENT_MAX,
    SLOW,
    TURN,
    Host,
    Lane,
    Reached,
)
from workers.timers import Timers

T = TypeVar("T")

_NEVER_S = float("inf")
_SLOW_AWAY_SHARE = 4  # slow endpoints remembered while away, by slots of the process


@dataclass(frozen=True, slots=True)
class Limits:
    """All of one process; each at least 1."""

    endpoint_in_flight_max: int = 4
    endpoint_queue_max: int = 64
    host_in_flight_max: int = 64
    in_flight_max: int = 4_096
    queued_max: int = 16_384
    slow_s: float = 1.0


class Offer(Enum):
    """What became of an item."""

    START = auto()  # send it now; it counts as under way until `done`
    QUEUED = auto()  # `done`, `ready`, `drop` or `take_overflowed` will hand it out
    OVERFLOW = auto()  # no room: put it back on the schedule


_START, _QUEUED, _OVERFLOW = Offer.START, Offer.QUEUED, Offer.OVERFLOW


class Lanes(Generic[T]):
    """The lanes of one process. Times are monotonic seconds and never go back.

    Between calls: a lane in the line of a host means that the host has no slot left, a lane in the
    line of the process that the process has none.
    """

    def __init__(self, limits: Limits) -> None:
        self.in_flight = 0
        self.queued = 0
        self.slow_in_flight = 0
        self.slow_queued = 0
        self.reached = Reached()
        self._limits = limits
        self._endpoint_max = limits.endpoint_in_flight_max
        self._host_max = limits.host_in_flight_max
        self._max = limits.in_flight_max
        self._watch_from = limits.in_flight_max // 8
        self._busy_from = limits.in_flight_max // 2
        self._crowded_from = limits.in_flight_max * 3 // 4
        self._slow_max = max(1, limits.in_flight_max // 2)
        self._slow_s = limits.slow_s
        self._lanes: dict[str, Lane[T]] = {}
        self._hosts: dict[str, Host[T]] = {}
        self._turns: deque[Lane[T]] = deque()
        self._timers: Timers[T] = Timers()
        self._watched: deque[tuple[float, Lane[T]]] = deque()
        self._look_at_s = _NEVER_S
        self._slow_away: OrderedDict[str, bool] = OrderedDict()  # endpoint → whether it is silent
        self._overflowed: list[T] = []

    def __len__(self) -> int:
        """Lanes that have something waiting or under way, or a rate to keep."""
        return len(self._lanes)

    @property
    def has_overflowed(self) -> bool:
        return bool(self._overflowed)

    def offer(
        self, item: T, endpoint: str, host: str, now_s: float, rate_per_s: float | None = None
    ) -> Offer:
        """Takes an item for an endpoint. The newest rate holds for all that waits there.

        While requests to another host of the same endpoint wait or are under way (its URL was
        changed), the answer is OVERFLOW.
        """
        if now_s >= self._look_at_s:
            self._look(now_s)
        lane = self._lanes.get(endpoint)
        if lane is None:
            lane = self._open(endpoint, host)
        elif lane.host.name != host and not self._move(lane, host):
            self.reached.full[MOVED] += 1
            return _OVERFLOW
        if rate_per_s != lane.rate_per_s:
            self._change_rate(lane, rate_per_s, now_s)
        if (
            not lane.queue
            and self.in_flight < self._max
            and lane.host.used < self._host_max
            and self._may_start(lane, now_s)
        ):
            lane.host.used += 1
            self._start(lane, now_s)
            return _START
        if (limit := self._full(lane)) is None:
            self._enqueue(lane, item, now_s)
            return _QUEUED
        self.reached.full[limit] += 1
        self._leave_if_idle(lane, now_s)
        return _OVERFLOW

    def done(
        self, endpoint: str, now_s: float, took_s: float, is_answered: bool = True
    ) -> Sequence[T]:
        """A request to the endpoint is over; returns what is to be started now.

        `took_s` is how long it was under way, `is_answered` is false when it ran into its deadline.
        Look at `has_overflowed` afterwards.
        """
        lane = self._take_back(endpoint)
        lane.progress_s = now_s
        lane.is_silent = not is_answered
        if lane.pace is SLOW:
            if took_s < self._slow_s:
                self._set_fast(lane, now_s)
        elif took_s < self._slow_s:
            lane.pace = FAST
        else:
            self._set_slow(lane)
        return self._pass_on(lane, now_s)

    def unsent(self, endpoint: str, now_s: float) -> Sequence[T]:
        """The same for an item that was handed out and not sent: nothing is learnt from it."""
        return self._pass_on(self._take_back(endpoint), now_s)

    def _take_back(self, endpoint: str) -> Lane[T]:
        lane = self._lanes[endpoint]
        lane.in_flight -= 1
        self.in_flight -= 1
        if lane.pace is SLOW:
            self.slow_in_flight -= 1
        return lane

    def _pass_on(self, lane: Lane[T], now_s: float) -> Sequence[T]:
        """What may start with the slot that a request had."""
        if lane.host.waiting:
            self._free(lane.host)
        else:
            lane.host.used -= 1
        if lane.queue:
            if lane.place is NOWHERE:
                self._admit(lane, now_s)
        elif not lane.in_flight:
            self._leave_if_idle(lane, now_s)
        return self._give_turns(now_s) if self._turns else ()

    def ready(self, now_s: float) -> Sequence[T]:
        """What is to be started because its time has come. Look at `has_overflowed` afterwards."""
        if now_s >= self._look_at_s:
            self._look(now_s)
        while lane := self._timers.pop_due(now_s):
            self._wake(lane, now_s)
        return self._give_turns(now_s) if self._turns else ()

    @property
    def is_timed(self) -> bool:
        """Whether a lane waits for its rate, so that `next_wake` has something to say."""
        return self._timers.live > 0

    def next_wake(self) -> float | None:
        """When `ready` is to be called next; None while no lane waits for its rate."""
        return self._timers.next_at_s()

    def drop(self, endpoint: str, now_s: float) -> list[T]:
        """Takes back all that waits for an endpoint, in its order; requests under way go on."""
        lane = self._lanes.get(endpoint)
        if lane is None:
            return []
        items = self._take_queue(lane)
        if lane.place is CLOCK:
            lane.place = NOWHERE
        self._leave_if_idle(lane, now_s)
        return items

    def take_overflowed(self) -> list[T]:
        """Items that were queued and have lost their place: put them back on the schedule."""
        items, self._overflowed = self._overflowed, []
        return items

    def waiting(self) -> list[str]:
        """The endpoints something waits for."""
        return [lane.endpoint for lane in self._lanes.values() if lane.queue]

    # Whether a lane may start something

    def _may_start(self, lane: Lane[T], now_s: float) -> bool:
        """Whether endpoint, pace and rate allow it; the slots are another matter."""
        if lane.in_flight and lane.in_flight >= self._cap(lane):
            return False
        if lane.pace is SLOW and self.slow_in_flight >= self._slow_max:
            return False
        return lane.bucket is None or lane.bucket.ready_at_s <= now_s

    def _cap(self, lane: Lane[T]) -> int:
        if lane.is_silent:
            return SILENT_MAX
        if self.in_flight < self._busy_from:
            return self._endpoint_max
        if self.in_flight < self._crowded_from and lane.pace is FAST:
            return self._endpoint_max
        return 1

    def _cap_reached(self, lane: Lane[T]) -> str:
        if lane.is_silent:
            return SILENT
        return ENDPOINT_IN_FLIGHT if lane.in_flight >= self._endpoint_max else SHARE

    def _full(self, lane: Lane[T]) -> str | None:
        """The limit that keeps one more from waiting in this lane, if there is one."""
        free = self._limits.queued_max - self.queued
        if lane.pace is SLOW and (
            self.slow_in_flight >= self._slow_max or self.slow_queued >= free
        ):
            return SHARE
        if len(lane.queue) >= self._limits.endpoint_queue_max:
            return ENDPOINT_QUEUE
        return None if lane.host.queued < free else QUEUED

    # The way of an item through its lane

    def _enqueue(self, lane: Lane[T], item: T, now_s: float) -> None:
        lane.queue.append(item)
        self.queued += 1
        lane.host.queued += 1
        if lane.pace is SLOW:
            self.slow_queued += 1
        if len(lane.queue) == 1 and lane.place is NOWHERE:
            self._admit(lane, now_s)

    def _admit(self, lane: Lane[T], now_s: float) -> None:
        """Puts a lane with something waiting where its next start will come from."""
        waits = self.reached.waits
        if lane.in_flight and lane.in_flight >= self._cap(lane):
            waits[self._cap_reached(lane)] += 1
            self._watch(lane, now_s)
            return
        if lane.pace is SLOW and self.slow_in_flight >= self._slow_max:
            if lane.in_flight:
                waits[SHARE] += 1
            else:
                self.reached.full[SHARE] += len(lane.queue)
                self._overflowed += self._take_queue(lane)
                self._leave_if_idle(lane, now_s)
            return
        if lane.bucket is not None and lane.bucket.ready_at_s > now_s:
            waits[RATE] += 1
            lane.place = CLOCK
            self._timers.set(lane, lane.bucket.ready_at_s)
        elif lane.host.used < self._host_max:
            lane.host.used += 1
            self._stand_in_line(lane)
        else:
            waits[HOST_IN_FLIGHT] += 1
            lane.place = HOST
            if lane.host.waiting is None:
                lane.host.waiting = deque()
            lane.host.waiting.append(lane)

    def _stand_in_line(self, lane: Lane[T]) -> None:
        lane.place = TURN
        if self.in_flight + len(self._turns) >= self._max:
            self.reached.waits[IN_FLIGHT] += 1
        self._turns.append(lane)

    def _free(self, host: Host[T]) -> None:
        """Gives back a slot of a host, or hands it to who waits for one."""
        if host.waiting:
            self._stand_in_line(host.waiting.popleft())
        else:
            host.used -= 1

    def _give_turns(self, now_s: float) -> list[T]:
        """One start for each lane in line, while the process has slots."""
        started: list[T] = []
        while self._turns and self.in_flight < self._max:
            lane = self._turns.popleft()
            lane.place = NOWHERE
            # Much may have changed since it got in line: look again.
            if lane.queue and self._may_start(lane, now_s):
                started.append(self._take_one(lane))
                self._start(lane, now_s)
            else:
                self._free(lane.host)
            if lane.queue:
                self._admit(lane, now_s)
            else:
                self._leave_if_idle(lane, now_s)
        return started

    def _start(self, lane: Lane[T], now_s: float) -> None:
        self.in_flight += 1
        lane.in_flight += 1
        if lane.in_flight == 1:
            lane.progress_s = now_s
        if lane.bucket is not None:
            lane.bucket.take(now_s)
        if lane.pace is SLOW:
            self.slow_in_flight += 1
        elif self.in_flight > self._watch_from:
            self._watch(lane, now_s)

    def _take_one(self, lane: Lane[T]) -> T:
        self.queued -= 1
        lane.host.queued -= 1
        if lane.pace is SLOW:
            self.slow_queued -= 1
        return lane.queue.pop(0)

    def _take_queue(self, lane: Lane[T]) -> list[T]:
        items, lane.queue = lane.queue, []
        self.queued -= len(items)
        lane.host.queued -= len(items)
        if lane.pace is SLOW:
            self.slow_queued -= len(items)
        return items

    # Lanes come and go

    def _open(self, endpoint: str, host_name: str) -> Lane[T]:
        lane = self._lanes[endpoint] = Lane(endpoint, self._host(host_name))
        if self._slow_away and endpoint in self._slow_away:
            lane.is_silent = self._slow_away.pop(endpoint)
            lane.pace = SLOW
        return lane

    def _host(self, name: str) -> Host[T]:
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = Host(name)
        host.lanes += 1
        return host

    def _leave_host(self, host: Host[T]) -> None:
        host.lanes -= 1
        if not host.lanes:
            del self._hosts[host.name]

    def _move(self, lane: Lane[T], host_name: str) -> bool:
        """Leads to another host now, if nothing is on its way to the old one."""
        if lane.in_flight or lane.queue or lane.place is not NOWHERE:
            return False
        self._leave_host(lane.host)
        lane.host = self._host(host_name)
        return True

    def _leave_if_idle(self, lane: Lane[T], now_s: float) -> None:
        """A lane with a rate stays until its bucket is full: a new one would start with all."""
        if lane.in_flight or lane.queue or lane.place is not NOWHERE:
            return
        if lane.bucket is not None and lane.bucket.full_at_s > now_s:
            self._timers.set(lane, lane.bucket.full_at_s)
            return
        self._timers.cancel(lane)
        del self._lanes[lane.endpoint]
        self._leave_host(lane.host)
        if lane.pace is SLOW:
            self._slow_away[lane.endpoint] = lane.is_silent
            if len(self._slow_away) > _SLOW_AWAY_SHARE * self._max:
                self._slow_away.popitem(last=False)

    # Slow and fast

    def _watch(self, lane: Lane[T], now_s: float) -> None:
        """Has a lane looked at for whom progress matters: the process fills, or it waits for it."""
        if lane.watched or lane.pace is SLOW:
            return
        lane.watched = True
        if not self._watched:
            self._look_at_s = now_s + self._slow_s
        self._watched.append((now_s + self._slow_s, lane))

    def _look(self, now_s: float) -> None:
        """Finds lanes without progress, within `slow_s`: the line is not quite in order."""
        watched = self._watched
        while watched and watched[0][0] <= now_s:
            _, lane = watched.popleft()
            if lane.in_flight and lane.pace is not SLOW:
                slow_at_s = lane.progress_s + self._slow_s
                if slow_at_s > now_s:
                    watched.append((slow_at_s, lane))
                    continue
                self._set_slow(lane)
            lane.watched = False
        self._look_at_s = watched[0][0] if watched else _NEVER_S

    def _set_slow(self, lane: Lane[T]) -> None:
        lane.pace = SLOW
        self.slow_in_flight += lane.in_flight
        self.slow_queued += len(lane.queue)

    def _set_fast(self, lane: Lane[T], now_s: float) -> None:
        lane.pace = FAST
        self.slow_in_flight -= lane.in_flight
        self.slow_queued -= len(lane.queue)
        if lane.in_flight:
            self._watch(lane, now_s)

    # Rates

    def _change_rate(self, lane: Lane[T], rate_per_s: float | None, now_s: float) -> None:
        lane.rate_per_s = rate_per_s
        if lane.bucket is None:
            lane.bucket = Bucket(Rate.of(rate_per_s))
        else:
            lane.bucket.change(Rate.of(rate_per_s), now_s)
        if lane.place is CLOCK:
            self._timers.set(lane, max(lane.bucket.ready_at_s, now_s))

    def _wake(self, lane: Lane[T], now_s: float) -> None:
        if lane.place is CLOCK:
            lane.place = NOWHERE
            self._admit(lane, now_s)
        else:
            self._leave_if_idle(lane, now_s)
