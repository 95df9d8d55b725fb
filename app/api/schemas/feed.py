"""A user's feed and cursor in requests and answers."""

from typing import Annotated, Any

from pydantic import Field

from app.api.schemas.fields import (
    LIMIT_DEFAULT,
    OFFSET_MAX,
    Body,
    Decimal,
    Limit,
    Offset,
    Out,
    Query,
    Whole,
)

WAIT_S_MAX = 30


class FeedQuery(Query):
    """`after` is an offset; without it the page starts at the acknowledged cursor."""

    after: Annotated[Whole, Field(ge=0, le=OFFSET_MAX)] | None = None
    limit: Limit = LIMIT_DEFAULT
    wait_s: Annotated[
        Decimal, Field(ge=0, le=WAIT_S_MAX, description="How long to wait when nothing is there.")
    ] = 0.0


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
