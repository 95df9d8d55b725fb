"""A user's feed and cursor in requests and answers."""

from typing import Annotated, Any, Literal

from pydantic import Field

from app.api.schemas.examples import EPOCH, ITEM, POST, POST_ID, example
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
    TimeText,
    left_out,
)

WAIT_S_MAX = 30
_WAIT = "How long to wait when there is nothing yet."


class FeedQuery(Query):
    """`after` is an offset; without it the page starts at the acknowledged cursor."""

    after: Annotated[int, Field(ge=0, le=OFFSET_MAX), DIGITS] | None = None
    limit: Limit = LIMIT_DEFAULT
    wait_s: Annotated[float, Field(ge=0, le=WAIT_S_MAX, description=_WAIT), DECIMALS] = 0.0


class PushedPost(Out):
    """A post as it is pushed. Once it is deleted it has `deleted` and no data."""

    model_config = example(POST)

    id: str
    author: str
    type: str
    version: int
    created_at: TimeText
    deleted: Literal[True] | None = left_out()
    data: dict[str, Any] | None


class ExpiredPost(Out):
    """What is left of a post that is no longer kept."""

    model_config = example({"id": POST_ID, "expired": True})

    id: str
    expired: Literal[True]


class FeedItem(Out):
    """An event and the post as it is: `<type>.created`, `<type>.updated` or `<type>.deleted`; or
    what the service itself has to tell, `endpoint.disabled`, whose author is `/moments`."""

    model_config = example(ITEM)

    offset: int
    type: str
    post: PushedPost | ExpiredPost


class Gap(Out):
    """Offsets that are gone, both ends included."""

    model_config = example({"from": 1, "to": 200})

    from_: int = Field(alias="from")
    to: int


class Feed(Out):
    """`next_offset` is the `after` of the next page. A page ends early when it gets large."""

    model_config = example(
        {
            "epoch": EPOCH,
            "items": [ITEM],
            "next_offset": 1,
            "head_offset": 1,
            "cursor": 0,
        }
    )

    epoch: str
    gap: Gap | None = left_out()
    items: list[FeedItem]
    next_offset: int
    head_offset: int
    cursor: int


class CursorMove(Body):
    """How far the user has dealt with their feed; it never goes back."""

    model_config = example({"offset": 1})

    offset: Offset


class Cursor(Out):
    model_config = example({"cursor": 1, "head_offset": 1, "unread": 0})

    cursor: int
    head_offset: int
    unread: int
