"""Pages of short lists that the store gives in one piece.

A page goes on after an item, not after a number of them: what is added or deleted meanwhile makes
no other item come twice, or not at all.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import TypeVar

from app.api.schemas.fields import Page

T = TypeVar("T")
PagePart = tuple[Sequence[T], str | None]


def in_order(items: Sequence[T], query: Page, place: Callable[[T], str]) -> PagePart[T]:
    """The page asked for of items that ascend by their `place`, and the `after` of the next one."""
    start = 0 if query.after is None else bisect_right(items, query.after, key=place)
    return _from(start, items, query, place)


def newest_first(items: Sequence[T], query: Page, name: Callable[[T], str]) -> PagePart[T]:
    """The same of a log, which grows at its start and is cut at its end."""
    start = 0
    if query.after is not None:
        names = map(name, items)
        start = next((i for i, found in enumerate(names, 1) if found == query.after), len(items))
    return _from(start, items, query, name)


def _from(start: int, items: Sequence[T], query: Page, name: Callable[[T], str]) -> PagePart[T]:
    page = items[start : start + query.limit]
    return page, name(page[-1]) if start + len(page) < len(items) else None
