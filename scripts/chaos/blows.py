"""Deals the blows of a plan, each at its time, and notes when it really was."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress

from scripts.chaos.fleet import Fleet
from scripts.chaos.history import History, Incident
from scripts.chaos.plan import Act, Blow, Role

ALIVE_MAX_S = 2.0  # that is waited for whoever is just being started

Tell = Callable[[str], None]


class Striker:
    """`late` names those that did not end in their time when they were told to."""

    def __init__(self, fleet: Fleet, history: History, tell: Tell) -> None:
        self.late: list[str] = []
        self._fleet = fleet
        self._history = history
        self._tell = tell
        self._store_turn = asyncio.Lock()  # one that is being started is not hit

    async def run(self, plan: Sequence[Blow]) -> None:
        """Returns when the last of them is over."""
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as tasks:
            for blow in plan:
                name = f"{blow.act} {blow.name}"
                tasks.create_task(self._deal(blow, began + blow.at_s), name=name)

    async def _deal(self, blow: Blow, at_s: float) -> None:
        await asyncio.sleep(at_s - asyncio.get_running_loop().time())
        hold = f" for {blow.hold_s:.1f} s" if blow.hold_s else ""
        self._tell(f"{blow.act} {blow.name}{hold}")
        if blow.role is Role.STORE:
            async with self._store_turn:
                await self._hit_store(blow)
        elif blow.act is Act.ADD:
            self._note(blow)
            self._fleet.add(blow.name, blow.role)
        elif blow.act is Act.REMOVE:
            self._note(blow)
            if not await self._fleet.remove(blow.name):
                self.late.append(blow.name)
        else:
            await self._hit(blow)

    def _note(self, blow: Blow) -> Incident:
        """It is over at once, unless that is said later."""
        incident = self._history.begin(blow.act, blow.role, blow.name)
        incident.to_ms = incident.from_ms
        return incident

    async def _hit(self, blow: Blow) -> None:
        fleet = self._fleet
        with suppress(TimeoutError):
            async with asyncio.timeout(ALIVE_MAX_S):
                await fleet.members[blow.name].child.ready.wait()
        incident = self._note(blow)
        if blow.act is Act.STOP:
            incident.to_ms = None
            has_hit = fleet.halt(blow.name)
            await asyncio.sleep(blow.hold_s)
            fleet.go_on(blow.name)
            self._history.end(incident)
        else:
            number = signal.SIGKILL if blow.act is Act.KILL else signal.SIGTERM
            has_hit = fleet.send(blow.name, number)
        if not has_hit:
            # Nobody was there: it happened to nobody, and explains nothing.
            self._history.withdraw(incident)
            self._tell(f"{blow.act} {blow.name} missed: it is not running")

    async def _hit_store(self, blow: Blow) -> None:
        store = self._fleet.store
        incident = self._history.begin(blow.act, blow.role, blow.name, fails_over=store.fails_over)
        await store.hit(blow.act, blow.hold_s)
        self._history.end(incident)
