"""The time that a shard's schedule goes by, which goes on when the wall clock is set.

Three clocks have to do with it:

    wall      what is shown and signed; it may be set at any moment, by hours
    steady    what this process decides by: the wall clock as if nobody had set it since the start
    schedule  what `retries` and `probes` hold: steady, whoever owns the shard

So a clock that is set forwards hurries nothing, and one that is set backwards holds nothing up.
The store keeps by how much the wall clock is ahead of the schedule: for the next owner, whose
steady clock began elsewhere, and for calls that schedule something.
"""

import logging

from app.clock import now_ms, steady_ms
from app.errors import LeaseLost
from app.store import keys
from app.store.client import Store

log = logging.getLogger(__name__)

SET_MIN_MS = 1_000  # what a clock was set by less is put down together with the next time


class Schedule:
    """The clock of one tenure. As long as nobody sets a clock, all three agree."""

    def __init__(self, store: Store, shard: int, token: bytes) -> None:
        self._store = store
        self._shard = shard
        self._token = token
        self._noted_ms = 0  # as it stands in the store
        self._ahead_ms = 0  # steady, of the schedule
        self._set_by_ms = 0  # wall, of steady

    def to_store(self, at_ms: int) -> int:
        """Schedule time of a steady one."""
        return at_ms - self._ahead_ms

    def from_store(self, at_ms: int) -> int:
        return at_ms + self._ahead_ms

    def to_wall(self, at_ms: int) -> int:
        """What to show for a steady time."""
        return at_ms + self._set_by_ms

    async def begin(self) -> None:
        """Goes on where the owner before was."""
        noted = await self._store.execute("GET", keys.shift(self._shard))
        self._noted_ms = int(noted or 0)
        self._set_by_ms = now_ms() - steady_ms()
        self._ahead_ms = self._noted_ms - self._set_by_ms

    async def keep(self) -> None:
        """Looks whether the wall clock was set, and notes it. Raises `LeaseLost`."""
        self._set_by_ms = now_ms() - steady_ms()
        shift_ms = self._set_by_ms + self._ahead_ms
        if abs(shift_ms - self._noted_ms) < SET_MIN_MS:
            return
        answer = await self._store.call(
            "set_shift",
            [keys.lease(self._shard, keys.SENDER), keys.shift(self._shard)],
            [self._token, shift_ms],
        )
        if answer == b"lost":
            raise LeaseLost(f"sender of shard {self._shard}")
        by_ms = shift_ms - self._noted_ms
        log.warning("the wall clock was set", extra={"shard": self._shard, "by_ms": by_ms})
        self._noted_ms = shift_ms
