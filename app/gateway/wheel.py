"""One timer for all sockets: who is to be looked at when."""

from math import ceil
from typing import Protocol

TICK_S = 0.1
SLOTS = 1_024  # whoever has more time than this is looked at early, and says so again


class Timed(Protocol):
    """What the wheel holds. `slot` is the wheel's own note; NOWHERE when it is not in it."""

    slot: int

    def check(self, now: float) -> None: ...


NOWHERE = -1


class Wheel:
    """A ring of slots, `TICK_S` each. Nobody is in it twice; nobody is called before their time
    unless that is beyond the ring's end.

    Moving and taking out cost the same however many there are, which a heap of timers does not.
    """

    def __init__(self, now: float) -> None:
        self._slots: list[set[Timed] | None] = [None] * SLOTS
        self._tick = int(now / TICK_S)  # the last tick whose slot was emptied

    def at(self, timed: Timed, when: float) -> None:
        """To be called at `when` (loop time in seconds), instead of what was said before."""
        last = self._tick + SLOTS - 1
        tick = last if when >= last * TICK_S else max(ceil(when / TICK_S), self._tick + 1)
        slot = tick % SLOTS
        if timed.slot == slot:
            return
        self.cancel(timed)
        place = self._slots[slot]
        if place is None:
            place = self._slots[slot] = set()
        place.add(timed)
        timed.slot = slot

    def sooner(self, timed: Timed, when: float) -> None:
        """The same, unless they are to be called before that anyway."""
        if timed.slot == NOWHERE or self._when(timed.slot) > when:
            self.at(timed, when)

    def cancel(self, timed: Timed) -> None:
        if timed.slot != NOWHERE:
            place = self._slots[timed.slot]
            assert place is not None
            place.remove(timed)
            timed.slot = NOWHERE

    def due(self, now: float) -> list[Timed]:
        """Takes out those whose time has come."""
        last = int(now / TICK_S)
        due: list[Timed] = []
        for tick in range(self._tick + 1, min(last, self._tick + SLOTS) + 1):
            place, self._slots[tick % SLOTS] = self._slots[tick % SLOTS], None
            due += place or ()
        self._tick = max(self._tick, last)
        for timed in due:
            timed.slot = NOWHERE
        return due

    def _when(self, slot: int) -> float:
        return (self._tick + (slot - self._tick) % SLOTS) * TICK_S
