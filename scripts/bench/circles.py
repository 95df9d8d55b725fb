"""Who takes part in a benchmark: authors with the same number of friends, drawn from all people."""

import random
from itertools import accumulate

from scripts.load.groups import Group
from scripts.load.workload import Author, Workload


def draw_circles(people: int, authors: int, friends: int, group: Group, prefix: str) -> Workload:
    """The same in every run. Everybody receives in the same way."""
    drawn = random.Random(f"circles of {prefix}")
    names = tuple(f"{prefix}-{number}" for number in range(people))
    circles = [tuple(drawn.sample(range(people), friends)) for _ in range(authors)]
    weight = 1 / authors
    posting = tuple(
        Author(f"{prefix}-author-{number}", circle, weight) for number, circle in enumerate(circles)
    )
    chances = tuple(accumulate(author.weight for author in posting))
    return Workload(names, (group,) * people, posting, authors, chances)
