"""What befalls the service, and when: decided beforehand, by seed."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

FIRST_S = 1.5  # something is under way by then
CALM_S = 1.0  # before the end, so that what is begun has an end
GAP_S = (0.4, 4.0)
STOPPED_S = (0.5, 2.0)  # beyond a lease
DOWN_S = (0.1, 1.0)  # a store that was killed


class Act(StrEnum):
    KILL = "kill -9"
    STOP = "SIGSTOP"
    TERM = "SIGTERM"
    AWAY = "away"
    ADD = "add"
    REMOVE = "remove"
    STALL = "stall"  # nothing that we did: the machine gave us no time


class Role(StrEnum):
    API = "api"
    GATEWAY = "gateway"
    FANOUT = "fanout"
    SENDER = "sender"
    JANITOR = "janitor"
    STORE = "store"
    MACHINE = "machine"


COUNTS = {Role.API: 2, Role.GATEWAY: 2, Role.FANOUT: 2, Role.SENDER: 2, Role.JANITOR: 1}

_ALL = (Act.KILL, Act.STOP, Act.TERM)
# Drawn like cards: in random order, each as often as it is in here before any comes again.
_DECK: tuple[tuple[Role, Act], ...] = (
    *((role, act) for role in (Role.API, Role.GATEWAY, Role.FANOUT, Role.SENDER) for act in _ALL),
    *((Role.SENDER, act) for act in _ALL),
    *((Role.FANOUT, act) for act in (Act.KILL, Act.STOP)),
    (Role.GATEWAY, Act.KILL),
    (Role.JANITOR, Act.KILL),
)


@dataclass(frozen=True, slots=True)
class Blow:
    """One thing that is done. `hold_s`: until a stopped process goes on, or a store is back."""

    at_s: float
    act: Act
    role: Role
    name: str
    hold_s: float = 0.0

    @property
    def until_s(self) -> float:
        return self.at_s + self.hold_s


@dataclass(frozen=True, slots=True)
class Terms:
    """What a plan is made for. `store` is what may be done to the store, `away_s` how long it is
    away once, 0: never. Between two blows passes a time in `gap_s`."""

    seconds: float
    lease_s: float
    away_s: float
    store: Sequence[Act] = _ALL
    gap_s: tuple[float, float] = GAP_S


def make_plan(random: random.Random, terms: Terms) -> list[Blow]:
    """The same plan for the same state of `random`, in the order of time."""
    fixed = [*_away(random, terms), *_visitors(random, terms)]
    cards = _cards(random, terms)
    blows = list(fixed)
    at_s = FIRST_S
    while at_s < terms.seconds - CALM_S:
        role, act = next(cards)
        blow = _blow(random, terms, at_s, role, act, busy=blows)
        if blow is not None:
            blows.append(blow)
        at_s += random.uniform(*terms.gap_s)
    return sorted(blows, key=lambda blow: blow.at_s)


def _cards(random: random.Random, terms: Terms) -> Iterator[tuple[Role, Act]]:
    deck = [*_DECK, *((Role.STORE, act) for act in terms.store)]
    while True:
        yield from random.sample(deck, len(deck))


def _away(random: random.Random, terms: Terms) -> Iterator[Blow]:
    if terms.away_s > 0:
        at_s = terms.seconds * random.uniform(0.35, 0.45)
        yield Blow(at_s, Act.AWAY, Role.STORE, Role.STORE, terms.away_s)


def _visitors(random: random.Random, terms: Terms) -> Iterator[Blow]:
    """Two workers that come and go."""
    for role in (Role.FANOUT, Role.SENDER):
        name = f"{role}-{COUNTS[role] + 1}"
        yield Blow(terms.seconds * random.uniform(0.15, 0.3), Act.ADD, role, name)
        yield Blow(terms.seconds * random.uniform(0.65, 0.8), Act.REMOVE, role, name)


def _blow(
    random: random.Random,
    terms: Terms,
    at_s: float,
    role: Role,
    act: Act,
    *,
    busy: Sequence[Blow],
) -> Blow | None:
    """None when there is nobody to hit: whoever is stopped or away is left alone."""
    hold_s = _hold_s(random, terms, role, act)
    if at_s + hold_s > terms.seconds - CALM_S:
        return None
    names = [
        name for name in _names(role) if not any(_overlaps(b, name, at_s, hold_s) for b in busy)
    ]
    return Blow(at_s, act, role, random.choice(names), hold_s) if names else None


def _hold_s(random: random.Random, terms: Terms, role: Role, act: Act) -> float:
    if act is Act.STOP:
        return terms.lease_s + random.uniform(*STOPPED_S)
    return random.uniform(*DOWN_S) if role is Role.STORE else 0.0


def _names(role: Role) -> list[str]:
    if role is Role.STORE:
        return [Role.STORE]
    return [f"{role}-{number}" for number in range(1, COUNTS[role] + 1)]


def _overlaps(blow: Blow, name: str, at_s: float, hold_s: float) -> bool:
    return blow.name == name and blow.at_s < at_s + hold_s and at_s < blow.until_s
