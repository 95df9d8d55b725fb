"""Who takes part: people and their friends, what they receive by, and who posts."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

PEOPLE = 36
FRIENDS_SHARE = 0.8  # of all pairs
FOLLOWS_SHARE = 0.1  # of the others, one way
SLOW_S = 0.15
ENDPOINT_FAILS = 0.05  # of requests, answered with 500


class Resume(StrEnum):
    """How a socket client says where it stopped.

    Who does neither gets no promise: what the kernel took then counts as delivered.
    """

    AFTER = "after"  # by the offset it has seen
    EXPLICIT = "explicit"  # by what it has acknowledged


@dataclass(frozen=True, slots=True)
class Hook:
    """A receiver to be: whose it is, the types it wants, how it answers."""

    user: str
    types: tuple[str, ...]
    delay_s: float
    fail: float

    def wants(self, event_type: str) -> bool:
        stems = [pattern.removesuffix("*") for pattern in self.types]
        return any(event_type.startswith(stem) for stem in stems)


@dataclass(frozen=True, slots=True)
class Manner:
    """How somebody's socket client behaves. `cut_every_s`: it loses its own connection so often."""

    resume: Resume
    binary: bool
    cut_every_s: float


@dataclass(frozen=True, slots=True)
class Cast:
    """`audiences` are friends and followers of everybody."""

    people: tuple[str, ...]
    friends: tuple[tuple[str, str], ...]
    follows: tuple[tuple[str, str], ...]  # follower, followed
    audiences: dict[str, frozenset[str]]
    hooks: tuple[Hook, ...]
    sockets: dict[str, Manner]
    authors: tuple[str, ...]


def make_cast(random: random.Random, people: int = PEOPLE) -> Cast:
    """The same cast for the same state of `random`."""
    names = tuple(f"person-{number:02}" for number in range(people))
    friends, follows = _acquaint(names, random)
    audiences: dict[str, set[str]] = {name: set() for name in names}
    for a, b in friends:
        audiences[a].add(b)
        audiences[b].add(a)
    for follower, followed in follows:
        audiences[followed].add(follower)
    return Cast(
        people=names,
        friends=tuple(friends),
        follows=tuple(follows),
        audiences={name: frozenset(found) for name, found in audiences.items()},
        hooks=tuple(_hooks(names, random)),
        sockets={name: _manner(index, random) for index, name in enumerate(_half(names, 1))},
        authors=names[: max(4, people // 3)],
    )


def _half(names: Sequence[str], which: int) -> Sequence[str]:
    """The middle half, or the first: a quarter of the people has both, a quarter neither."""
    start = which * len(names) // 4
    return names[start : start + len(names) // 2]


def _acquaint(
    names: Sequence[str], random: random.Random
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    friends: list[tuple[str, str]] = []
    follows: list[tuple[str, str]] = []
    for index, a in enumerate(names):
        for b in names[index + 1 :]:
            if random.random() < FRIENDS_SHARE:
                friends.append((a, b))
            elif random.random() < FOLLOWS_SHARE:
                follows.append((a, b))
    return friends, follows


def _hooks(names: Sequence[str], random: random.Random) -> list[Hook]:
    hooks: list[Hook] = []
    for index, user in enumerate(_half(names, 0)):
        delay_s = random.choice((0.0, 0.0, 0.02, SLOW_S))
        fail = ENDPOINT_FAILS if index % 3 == 0 else 0.0
        hooks.append(Hook(user, ("*",), delay_s, fail))
        if index % 6 == 0:
            hooks.append(Hook(user, ("commit.*",), 0.0, 0.0))
    return hooks


def _manner(index: int, random: random.Random) -> Manner:
    resume = Resume.EXPLICIT if index % 3 == 2 else Resume.AFTER
    return Manner(resume, binary=index % 4 == 0, cut_every_s=random.uniform(5.0, 40.0))
