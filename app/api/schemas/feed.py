"""A user's feed and cursor in requests and answers."""

from typing import Annotated, Any

from pydantic import Field

from app.api.schemas.fields import (
    DECIMALS,
    DIGITS,
    LIMIT_DEFAULT,
    OFFSET_MAX,
    Body,
    Limit,
    Offset,
    Out,
    Query,
)

WAIT_S_MAX = 30
_WAIT = "How long to wait when there is nothing yet."


class FeedQuery(Query):
    """`after` is an offset; without it the page starts at the acknowledged cursor."""

    after: Annotated[int, Field(ge=0, le=OFFSET_MAX), DIGITS] | None = None
    limit: Limit = LIMIT_DEFAULT
    wait_s: Annotated[float, Field(ge=0, le=WAIT_S_MAX, description=_WAIT), DECIMALS] = 0.0


class FeedItem(Out):
    offset: int
    type: str
    post: dict[str, Any]


class Gap(Out):
    """Offsets that are gone, both ends included."""

    from_: int = Field(alias="from")
    to: int


class Feed(Out):
    """`next_offset` is the `after` of the next page."""

    epoch: str
    gap: Gap | None = None
    items: list[FeedItem]
    next_offset: int
    head_offset: int
    cursor: int


class CursorMove(Body):
    offset: Offset


class Cursor(Out):
    cursor: int
    head_offset: int
    unread: int
