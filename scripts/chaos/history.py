"""What was done to the service, and when; and whether that explains what was seen."""

import asyncio
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from app.clock import now_ms
from scripts.chaos.plan import Act, Role

NEAR_MS = 1_000  # from an answer to its record, on a busy machine
BACK_MS = 3_000  # until all go on, after the store has come back
HELD_UP_MS = 7_000  # until a shard has a new owner, and that has caught up
LOOK_S = 0.1
# These end in order, and so explain nothing that came twice.
_IN_ORDER = frozenset({Act.TERM, Act.ADD, Act.REMOVE})


@dataclass(slots=True)
class Incident:
    """`to_ms` None: it is not over. `fails_over`: a replica took over, which may not have had the
    newest writes."""

    act: Act
    role: Role
    name: str
    from_ms: int
    to_ms: int | None = None
    fails_over: bool = False

    @property
    def is_crash(self) -> bool:
        # Whoever asks the store something as it goes may get no answer, however orderly it goes.
        return self.act not in _IN_ORDER or self.role is Role.STORE

    def touches(self, from_ms: int, to_ms: int) -> bool:
        """Whether it was going on then, or so shortly before that its effects were."""
        after_ms = BACK_MS if self.role is Role.STORE else NEAR_MS
        ends_ms = to_ms if self.to_ms is None else self.to_ms + after_ms
        return self.from_ms - NEAR_MS <= to_ms and from_ms <= ends_ms


@dataclass(slots=True)
class History:
    incidents: list[Incident] = field(default_factory=list[Incident])

    def begin(self, act: Act, role: Role, name: str, *, fails_over: bool = False) -> Incident:
        incident = Incident(act, role, name, now_ms(), fails_over=fails_over)
        self.incidents.append(incident)
        return incident

    def end(self, incident: Incident) -> None:
        incident.to_ms = now_ms()

    def withdraw(self, incident: Incident) -> None:
        """It did not happen."""
        self.incidents = [one for one in self.incidents if one is not incident]

    def crashed(self, roles: Collection[Role], from_ms: int, to_ms: int) -> bool:
        """Whether one of these roles, or the store or machine below it, failed in that time."""
        return any(
            incident.is_crash
            and (incident.role in roles or incident.role in (Role.STORE, Role.MACHINE))
            and incident.touches(from_ms, to_ms)
            for incident in self.incidents
        )

    def repeats(self, roles: Collection[Role], first_ms: int, again_ms: int) -> bool:
        """Whether a crash explains that what came at `first_ms` came again at `again_ms`: the
        record of the first was lost in it, so it has to be close to that, and before the other."""
        return any(
            incident.is_crash
            and (incident.role in roles or incident.role in (Role.STORE, Role.MACHINE))
            and incident.touches(first_ms, first_ms)
            and incident.from_ms <= again_ms
            for incident in self.incidents
        )

    def held_up(self, roles: Collection[Role], from_ms: int, to_ms: int) -> bool:
        """Whether anything done to these, in order or not, can have made them late in that time."""
        return any(
            (incident.role in roles or incident.role in (Role.STORE, Role.MACHINE))
            and incident.from_ms - NEAR_MS <= to_ms
            and (incident.to_ms is None or from_ms <= incident.to_ms + HELD_UP_MS)
            for incident in self.incidents
        )

    def renumbers(self, at_ms: int) -> bool:
        """Whether what was pushed then may have been lost in a fail-over, so that its offset was
        given once more."""
        return any(one.fails_over and one.touches(at_ms, at_ms) for one in self.incidents)

    @property
    def has_failed_over(self) -> bool:
        return any(one.fails_over for one in self.incidents)

    def counts(self) -> Counter[tuple[Role, Act]]:
        return Counter((incident.role, incident.act) for incident in self.incidents)


async def watch_for_stalls(history: History, threshold_s: float) -> None:
    """Notes when this process was not run for long, until cancelled. Then others were not either,
    and leases may have run out that nobody took."""
    loop = asyncio.get_running_loop()
    while True:
        began, began_ms = loop.time(), now_ms()
        await asyncio.sleep(LOOK_S)
        if loop.time() - began > LOOK_S + threshold_s:
            stall = history.begin(Act.STALL, Role.MACHINE, Role.MACHINE)
            stall.from_ms, stall.to_ms = began_ms, now_ms()
