"""A scenario: who receives how, what is played, what is asked of the service before."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from scripts.load.groups import REAL, Presence
from scripts.load.results import Finding
from scripts.load.stage import Stage

Play = Callable[[Stage], Awaitable[Sequence[Finding]]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is not given on the command line comes from here. `settings` are for a service of our
    own. A scenario that `starts_workers` or `opens_sockets` itself finds none."""

    name: str
    about: str
    play: Play
    presence: Presence = field(default_factory=lambda: REAL)
    seconds: float = 60.0
    rate: float = 2_000.0
    people: int = 10_000
    count: int = 0
    cycles: int = 1
    warm_up: float = 5.0
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    is_own: bool = False
    is_secure: bool = False
    starts_workers: bool = False
    opens_sockets: bool = False

    @property
    def defaults(self) -> dict[str, float]:
        return {
            "seconds": self.seconds,
            "rate": self.rate,
            "people": self.people,
            "count": self.count,
            "cycles": self.cycles,
            "warm_up": self.warm_up,
        }
