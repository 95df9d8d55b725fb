"""Who posts what, and when: drawn before anything is sent, so that no slow answer delays a post."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from scripts.load.workload import Workload


class Kind(StrEnum):
    """What is posted. The letter goes with every post, to tell deliveries apart."""

    POST = "p"
    LIKE = "l"
    COMMENT = "c"
    PROBE = "x"  # to exactly 100
    CELEBRITY = "y"  # to everybody there is


# Characters of text beside the mark: a paragraph, a like, a sentence.
TEXT_CHARS: Final = {
    Kind.POST: 400,
    Kind.LIKE: 10,
    Kind.COMMENT: 80,
    Kind.PROBE: 400,
    Kind.CELEBRITY: 400,
}
MIX: Final = {Kind.POST: 1, Kind.LIKE: 6, Kind.COMMENT: 2}


class Arrival(NamedTuple):
    """`at_us` counts from the beginning of the phase."""

    at_us: int
    author: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Stream:
    """Posts of one source. Without `authors` everybody posts, by weight."""

    posts_per_s: float
    kinds: Sequence[Kind]
    authors: Sequence[int] = ()


def everyday(workload: Workload, deliveries_per_s: float) -> Stream:
    """Posts, likes and comments that make so many deliveries on average."""
    kinds = [kind for kind, weight in MIX.items() for _ in range(weight)]
    return Stream(deliveries_per_s / workload.audience_mean, kinds)


def probes(workload: Workload, posts_per_s: float) -> Stream:
    return Stream(posts_per_s, [Kind.PROBE], workload.probes)


def draw(
    random: random.Random, workload: Workload, streams: Sequence[Stream], seconds: float
) -> list[Arrival]:
    """Poisson arrivals of all streams within `seconds`, in order."""
    arrivals = [
        Arrival(
            at_us,
            random.choice(stream.authors) if stream.authors else workload.draw_author(random),
            random.choice(stream.kinds),
        )
        for stream in streams
        for at_us in _poisson(random, stream.posts_per_s, seconds)
    ]
    return sorted(arrivals)


def every(workload: Workload, gap_s: float, seconds: float) -> list[Arrival]:
    """Posts to everybody, evenly spaced, the first one at once."""
    gap_us = round(gap_s * 1e6)
    times = range(0, round(seconds * 1e6), gap_us)
    return [Arrival(at_us, workload.celebrity, Kind.CELEBRITY) for at_us in times]


def evenly(authors: Sequence[int], posts: int, seconds: float) -> list[Arrival]:
    """So many posts of these authors in turn, evenly spaced over the time."""
    gap_us = seconds * 1e6 / posts
    return [
        Arrival(round(number * gap_us), authors[number % len(authors)], Kind.POST)
        for number in range(posts)
    ]


def amounting_to(
    random: random.Random, workload: Workload, deliveries: int, seconds: float
) -> list[Arrival]:
    """Posts that make at least so many deliveries, evenly spaced over the time."""
    authors: list[int] = []
    while deliveries > 0:
        author = workload.draw_author(random)
        authors.append(author)
        deliveries -= len(workload.authors[author].friends)
    return evenly(authors, len(authors), seconds)


def _poisson(random: random.Random, per_s: float, seconds: float) -> Iterator[int]:
    if per_s <= 0:
        return
    at_s = random.expovariate(per_s)
    while at_s < seconds:
        yield round(at_s * 1e6)
        at_s += random.expovariate(per_s)
