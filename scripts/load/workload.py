"""Who takes part: people and how they receive, authors and their circles of friends."""

import random
from bisect import bisect
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import mean, median

from scripts.load.groups import Group, Presence

FRIENDS_MAX = 5_000  # of an ordinary author
AUTHORS_MAX = 500
# Authors with exactly so many friends, who post on order only: friends, and how many such authors.
SIZED = {10: 20, 100: 20, 1_000: 5}
PROBE_FRIENDS = 100
# Friends, and the share of users who have so many: those whose list is full, and a few who were
# allowed more.
BIG = ((5_000, 0.0009), (10_000, 0.0001))
_PEOPLE_FULL = BIG[-1][0]  # from here on nothing is scaled down


@dataclass(frozen=True, slots=True)
class Circles:
    """Friends per user: lognormal."""

    mu: float
    sigma: float


FULL = Circles(5.18, 0.94)  # median 178, mean 276: WeChat, survey of 2016
LIGHT = Circles(4.60, 1.14)  # median 99, mean 190: Facebook, Ugander et al. 2011


@dataclass(frozen=True, slots=True)
class Author:
    """`weight`: its share of all posts; 0 for those that post on order only."""

    name: str
    friends: tuple[int, ...]  # numbers of people
    weight: float


@dataclass(frozen=True, slots=True)
class Workload:
    """People receive and authors post: nobody does both, so that each audience is just as drawn.

    Friendships of those who never post are left out, since nothing ever reads them.
    """

    people: tuple[str, ...]
    groups: tuple[Group, ...]  # by number of the person
    authors: tuple[Author, ...]  # ordinary ones, then the big ones, then the sized ones
    ordinary: int
    chances: tuple[float, ...]  # running sum of the weights

    @property
    def celebrity(self) -> int:
        """The author with the most friends."""
        return self.ordinary + len(BIG) - 1

    @property
    def probes(self) -> range:
        return self.sized(PROBE_FRIENDS)

    def sized(self, friends: int) -> range:
        """The authors with exactly so many friends: a size of `SIZED`."""
        begin = self.ordinary + len(BIG)
        for size, count in SIZED.items():
            if size == friends:
                return range(begin, begin + count)
            begin += count
        raise ValueError(f"no authors with exactly {friends} friends")

    @property
    def audience_mean(self) -> float:
        """Deliveries that a post makes, on average."""
        return sum(author.weight * len(author.friends) for author in self.authors)

    def draw_author(self, random: random.Random) -> int:
        return min(bisect(self.chances, random.random()), len(self.authors) - 1)

    def audience(self, author: int) -> Counter[Group]:
        """Recipients of an author's posts by group."""
        return Counter(self.groups[number] for number in self.authors[author].friends)

    def members(self, *groups: Group) -> list[int]:
        return [number for number, group in enumerate(self.groups) if group in groups]

    def describe(self) -> dict[str, object]:
        """For the report."""
        circles = [len(author.friends) for author in self.authors[: self.ordinary]]
        counts = Counter(self.groups)
        big = [len(self.authors[self.ordinary + at].friends) for at in range(len(BIG))]
        return {
            "people": len(self.people),
            "authors": self.ordinary,
            "friends_median": round(median(circles)),
            "friends_mean": round(mean(circles)),
            "friends_max": max(circles),
            "deliveries_per_post": round(self.audience_mean, 1),
            "big_authors": [[size, share] for size, (_, share) in zip(big, BIG, strict=True)],
            "scaled_down": len(self.people) < _PEOPLE_FULL,
            "groups": {group.value: counts[group] for group in Group if counts[group]},
        }


def draw_workload(
    random: random.Random,
    *,
    people: int,
    circles: Circles,
    presence: Presence,
    prefix: str,
) -> Workload:
    """The same workload for the same state of `random`.

    Circles larger than all people are cut to them, and the big ones scaled: with half the people
    that the biggest needs, all of the big ones have half their friends.
    """
    names = tuple(f"{prefix}p{number}" for number in range(people))
    ordinary = max(1, min(AUTHORS_MAX, people // 4))
    scale = min(1.0, people / _PEOPLE_FULL)
    sizes = [
        *(_circle(random, circles, people) for _ in range(ordinary)),
        *(max(1, round(friends * scale)) for friends, _ in BIG),
        *(min(size, people) for size, count in SIZED.items() for _ in range(count)),
    ]
    big = sum(share for _, share in BIG)
    shares = (share for _, share in BIG)
    weights = [*[(1 - big) / ordinary] * ordinary, *shares, *[0.0] * sum(SIZED.values())]
    authors = tuple(
        Author(f"{prefix}a{number}", tuple(random.sample(range(people), size)), weight)
        for number, (size, weight) in enumerate(zip(sizes, weights, strict=True))
    )
    groups = _share_out(random, people, presence)
    return Workload(names, groups, authors, ordinary, tuple(accumulate(weights)))


def _circle(random: random.Random, circles: Circles, people: int) -> int:
    drawn = round(random.lognormvariate(circles.mu, circles.sigma))
    return max(1, min(drawn, FRIENDS_MAX, people))


def _share_out(random: random.Random, people: int, presence: Presence) -> tuple[Group, ...]:
    """Exactly the shares asked for, as far as people can be divided; who is who is drawn."""
    groups: list[Group] = []
    bounds: Sequence[float] = [round(part * people) for part in accumulate(presence.values())]
    for group, end in zip(presence, bounds, strict=True):
        groups += [group] * (int(end) - len(groups))
    random.shuffle(groups)
    return tuple(groups)
