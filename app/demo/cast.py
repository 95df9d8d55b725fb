"""Who takes part in the demo: people, their friends, what they receive by, and who posts."""

import math
import random
from dataclasses import dataclass
from enum import Enum

from app.receiver import Plan

PEOPLE = 300
WEBHOOKS = range(150)
SOCKETS = range(120, 270)  # so 30 people have both, and 30 neither
POSTS = 20
DROPPING = 30
SPECIAL_POSTS = 3  # that each special receiver gets: what it makes of them has to end in time

# Friends of one user, as measured on Facebook, for a smaller circle; nobody has more than 250 of
# 300 people. Ugander et al., "The anatomy of the Facebook social graph", 2011.
FRIENDS_MU = 4.60
FRIENDS_SIGMA = 1.14
FRIENDS_MAX = 250


class Manner(Enum):
    """How somebody's receiver takes webhooks."""

    GOOD = "accepts"
    FAILS_TWICE = "fails twice, then accepts"
    UNAVAILABLE = "always answers 503"
    SILENT = "never answers"
    GONE = "answers 410"


PLANS = {
    Manner.GOOD: Plan(),
    Manner.FAILS_TWICE: Plan(status=500, fail_first=2),
    Manner.UNAVAILABLE: Plan(status=503, fail=1.0),
    Manner.SILENT: Plan(delay_s=math.inf),
    Manner.GONE: Plan(status=410, fail=1.0),
}
SPECIAL = tuple(manner for manner in Manner if manner is not Manner.GOOD)


@dataclass(frozen=True, slots=True)
class Cast:
    """`friends` holds both directions. Each of `authors` posts once, in this order."""

    friends: dict[str, frozenset[str]]
    manners: dict[str, Manner]  # of everybody with a webhook
    sockets: tuple[str, ...]
    dropping: frozenset[str]  # whose sockets are cut and come back
    authors: tuple[str, ...]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return [(a, b) for a, friends in self.friends.items() for b in sorted(friends) if a < b]

    @property
    def frames(self) -> int:
        """How many events all sockets together are pushed."""
        return sum(len(self.friends[author].intersection(self.sockets)) for author in self.authors)

    @property
    def webhooks(self) -> int:
        """How many webhook deliveries there are, in whatever state they end."""
        return sum(len(self.friends[author] & self.manners.keys()) for author in self.authors)


def make_cast(random: random.Random) -> Cast:
    """The same cast for the same state of `random`."""
    names = [f"person-{number:03}" for number in range(PEOPLE)]
    special = dict(zip(names, SPECIAL, strict=False))
    authors = tuple(random.sample(names[len(special) :], POSTS))
    friends = _befriend(names[len(special) :], random)
    for name in special:
        for author in authors[: 2 * SPECIAL_POSTS : 2]:  # early, and not all at once
            friends.setdefault(name, set()).add(author)
            friends[author].add(name)
    sockets = tuple(names[number] for number in SOCKETS)
    return Cast(
        friends={name: frozenset(found) for name, found in friends.items()},
        manners={names[number]: special.get(names[number], Manner.GOOD) for number in WEBHOOKS},
        sockets=sockets,
        dropping=frozenset(random.sample(sockets, DROPPING)),
        authors=authors,
    )


def _befriend(names: list[str], random: random.Random) -> dict[str, set[str]]:
    """Numbers of friends are drawn, then people who still lack some are paired at random."""
    wanted = {
        name: min(FRIENDS_MAX, max(1, round(random.lognormvariate(FRIENDS_MU, FRIENDS_SIGMA))))
        for name in names
    }
    friends: dict[str, set[str]] = {name: set() for name in names}
    places = [name for name, count in wanted.items() for _ in range(count)]
    random.shuffle(places)
    for a, b in zip(places[::2], places[1::2], strict=False):
        if a != b:  # the same pair drawn twice is one friendship
            friends[a].add(b)
            friends[b].add(a)
    return friends
