"""Pages of short lists that the store gives in one piece."""

from collections.abc import Sequence
from typing import TypeVar

from app.api.schemas.fields import SkipPage

T = TypeVar("T")


def cut(items: Sequence[T], query: SkipPage) -> tuple[Sequence[T], str | None]:
    """The page asked for, and the `after` of the next one, None at the end."""
    end = query.after + query.limit
    return items[query.after : end], str(end) if end < len(items) else None
