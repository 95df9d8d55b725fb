"""Waiters: the users for whom a long poll waits here, and what wakes them."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from app.api.problems import TOO_MANY_WAITS, UNAVAILABLE, unavailable
from app.domain.shard import shard_of
from app.errors import StoreError
from app.store.nodes import Node, Push

log = logging.getLogger(__name__)


class _Seat:
    """A user with long polls here. `turn` puts what changes their route one after the other."""

    __slots__ = ("joined", "turn", "waits")

    def __init__(self) -> None:
        self.waits: set[Wait] = set()
        self.joined = False
        self.turn = asyncio.Lock()

    def wake(self) -> None:
        for wait in self.waits:
            wait.wake()


class Wait:
    """One long poll. Use: `ready`, then read the inbox, then `woken`, and again from the start.

    What comes after `ready` ends `woken`, so nothing falls between reading and waiting.
    """

    __slots__ = ("_event", "_node", "_seat", "_user")

    def __init__(self, node: Node, user: str, seat: _Seat) -> None:
        self._node = node
        self._user = user
        self._seat = seat
        self._event = asyncio.Event()

    async def ready(self) -> None:
        """From now on what is fanned out to the user is told here."""
        self._event.clear()
        seat = self._seat
        if seat.joined:
            return
        async with seat.turn:
            if not seat.joined:
                await self._node.join([self._user])
                seat.joined = True

    async def woken(self, timeout_s: float) -> bool:
        """True as soon as something came since `ready`; False when nothing did in this time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return False
        return True

    def wake(self) -> None:
        self._event.set()


class Waiters:
    """All long polls of this process, and the node through which they hear of what comes.

    A user's route names the node from the first wait on. When their last wait has ended, a sweep
    takes it out again, for many users in one call: a client that polls in a loop mostly finds
    itself still joined.
    """

    def __init__(
        self,
        node: Node,
        shards: int,
        *,
        waits_max: int,
        per_user_max: int = 16,
        sweep_s: float = 1.0,
    ) -> None:
        self._node = node
        self._shards = shards
        self._waits_max = waits_max
        self._per_user_max = per_user_max
        self._sweep_s = sweep_s
        self._seats: dict[str, _Seat] = {}
        self._stop = asyncio.Event()
        self.waiting = 0
        self.refused: Counter[str] = Counter()  # by the limit reached

    @property
    def node_id(self) -> str:
        """Under which this process is known among the nodes."""
        return self._node.id

    @property
    def is_closing(self) -> bool:
        return self._stop.is_set()

    @asynccontextmanager
    async def wait(self, user: str) -> AsyncGenerator[Wait]:
        """A place to wait for what comes to `user`. A 503 or 429 `Problem` when all are taken."""
        seat = self._take_place(user)
        wait = Wait(self._node, user, seat)
        seat.waits.add(wait)
        self.waiting += 1
        try:
            yield wait
        finally:
            self.waiting -= 1
            seat.waits.discard(wait)

    def _take_place(self, user: str) -> _Seat:
        # Seats that wait for the sweep count as well: they too are named in routes.
        if self.waiting >= self._waits_max or len(self._seats) >= 2 * self._waits_max:
            self.refused["feed_waits_max"] += 1
            raise unavailable(UNAVAILABLE, f"{self._waits_max} long polls are waiting already.", 1)
        seat = self._seats.get(user)
        if seat is None:
            seat = self._seats[user] = _Seat()
        if len(seat.waits) >= self._per_user_max:
            self.refused["per_user"] += 1
            detail = f"{self._per_user_max} long polls of this user are waiting already."
            raise unavailable(TOO_MANY_WAITS, detail, 1)
        return seat

    async def run(self) -> None:
        """Hears of what comes, and tidies up, until `release`; then leaves every route."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(), name="waiters-listen")
            tasks.create_task(self._sweep_until_stopped(), name="waiters-sweep")
        await self._leave_everything()

    def release(self) -> None:
        """Ends every wait, now and from now on: the process is about to stop."""
        self._stop.set()
        for seat in self._seats.values():
            seat.wake()

    async def _listen(self) -> None:
        while not self.is_closing:
            try:
                await self._node.run(self._on_pushes, self._stop)
            except StoreError as error:
                log.warning("store unavailable", extra={"reader": "waiters", "error": str(error)})
            except Exception:
                log.exception("node failed, starting it again", extra={"node": self._node.id})
            if not self.is_closing:
                await self._pause(self._sweep_s)
                await self._on_pushes([Push(shard, None, ()) for shard in range(self._shards)])

    async def begin_anew(self) -> None:
        """The store has lost this node's place and all its routes."""
        await self._node.beat()
        await self._on_pushes([Push(shard, None, ()) for shard in range(self._shards)])

    async def _on_pushes(self, pushes: Sequence[Push]) -> None:
        for push in pushes:
            if push.event is None and not push.recipients:
                self._wake_shard(push.shard)
            elif push.event is not None:  # else it is pushed once more: nothing new to wait for
                self._wake(push.recipients)

    def _wake(self, recipients: Iterable[tuple[str, int]]) -> None:
        for user, _ in recipients:
            seat = self._seats.get(user)
            if seat is not None:
                seat.wake()

    def _wake_shard(self, shard: int) -> None:
        """Something was lost, perhaps the routes too: all join again and read for themselves."""
        for user, seat in self._seats.items():
            if shard_of(user, self._shards) == shard:
                seat.joined = False
                seat.wake()

    async def _sweep_until_stopped(self) -> None:
        while not self.is_closing:
            await self._pause(self._sweep_s)
            await self._sweep()

    async def _sweep(self) -> None:
        idle = {
            user: seat
            for user, seat in self._seats.items()
            if not seat.waits and not seat.turn.locked()
        }
        async with AsyncExitStack() as turns:
            for seat in idle.values():
                await turns.enter_async_context(seat.turn)
                # Also when leaving fails: whoever comes next must join, which may be repeated.
                seat.joined = False
            try:
                if idle:
                    await self._node.leave(list(idle))
            except StoreError as error:
                log.warning("store unavailable", extra={"reader": "waiters", "error": str(error)})
                return
        for user, seat in idle.items():
            if not seat.waits:
                del self._seats[user]

    async def _leave_everything(self) -> None:
        try:
            await self._node.leave(list(self._seats))
            await self._node.close()
        except StoreError as error:
            # The janitor clears up after nodes that are gone.
            log.warning("store unavailable", extra={"reader": "waiters", "error": str(error)})

    async def _pause(self, duration_s: float) -> None:
        try:
            async with asyncio.timeout(duration_s):
                await self._stop.wait()
        except TimeoutError:
            pass
