"""Deliveries, attempts and dead letters in requests and answers."""

from typing import Any, Literal

from pydantic import Field

from app.api.schemas.fields import (
    LIMIT_DEFAULT,
    Body,
    EndpointId,
    Limit,
    Out,
    Page,
    Position,
    Query,
    Time,
    TimeText,
)

StateWord = Literal["pending", "retrying", "delivered", "dead", "suppressed", "cancelled"]
ChannelWord = Literal["webhook", "socket"]


def _is_none(value: Any) -> bool:
    return value is None


def _left_out() -> Any:
    """A field that is absent when there is nothing to say."""
    return Field(default=None, exclude_if=_is_none)


class DeliveryQuery(Query):
    state: StateWord | None = None
    channel: ChannelWord | None = None
    after: Position | None = None
    limit: Limit = LIMIT_DEFAULT


class DeadLetterQuery(Page):
    endpoint: EndpointId | None = None


class Attempt(Out):
    """One try: `status` and `response` are the receiver's, `error` is null on success."""

    delivery: str
    attempt: int
    at: TimeText
    status: int | None
    error: str | None
    duration_ms: float
    response: str


class Attempts(Out):
    items: list[Attempt]
    next: str | None


class Delivery(Out):
    """One post, one recipient, one channel. `parked`: waits until its endpoint is well again."""

    id: str
    post: str
    version: int
    recipient: str
    offset: int
    channel: ChannelWord
    endpoint: str | None = _left_out()
    state: StateWord
    parked: bool
    attempts: int
    last_status: int | None = _left_out()
    last_error: str | None = _left_out()
    next_attempt_at: TimeText | None = _left_out()
    updated_at: TimeText


class FullDelivery(Delivery):
    log: list[Attempt]


class Counts(Out):
    pending: int
    retrying: int
    delivered: int
    dead: int
    suppressed: int
    cancelled: int


class Deliveries(Out):
    """`counts` are of the whole post; a page may be short while `next` still goes on."""

    counts: Counts
    fanned_out: bool
    items: list[Delivery]
    next: str | None


class DeadLetters(Out):
    items: list[Delivery]
    next: str | None


class Replay(Body):
    """Which dead letters to send again: all, or an endpoint's, or those since a time."""

    endpoint: EndpointId | None = None
    since: Time | None = None


class Scheduled(Out):
    scheduled: int
