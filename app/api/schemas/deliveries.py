"""Deliveries, attempts and dead letters in requests and answers."""

from typing import Annotated, Literal

from app.api.schemas.examples import (
    ATTEMPT,
    COUNTS,
    DELIVERY,
    ENDPOINT_ID,
    POSTED_AT,
    SOCKET_DELIVERY,
    example,
)
from app.api.schemas.fields import (
    LIMIT_DEFAULT,
    Body,
    EndpointId,
    Limit,
    Out,
    Position,
    Query,
    Time,
    TimeText,
    left_out,
    shaped,
)
from app.store import dead_letters, ledger

StateWord = Literal["pending", "retrying", "delivered", "dead", "suppressed", "cancelled"]
ChannelWord = Literal["webhook", "socket"]


class DeliveryQuery(Query):
    state: StateWord | None = None
    channel: ChannelWord | None = None
    after: Annotated[Position, shaped(ledger.POSITION)] | None = None
    limit: Limit = LIMIT_DEFAULT


class DeadLetterQuery(Query):
    after: Annotated[Position, shaped(dead_letters.POSITION)] | None = None
    limit: Limit = LIMIT_DEFAULT
    endpoint: EndpointId | None = None


class Attempt(Out):
    """One try: `status` and `response` are the receiver's, `error` is null on success."""

    model_config = example(ATTEMPT)

    delivery: str
    attempt: int
    at: TimeText
    status: int | None
    error: str | None
    duration_ms: float
    response: str


class Attempts(Out):
    model_config = example({"items": [ATTEMPT], "next": None})

    items: list[Attempt]
    next: str | None


class Delivery(Out):
    """One post, one recipient, one channel. `parked`: waits until its endpoint is well again."""

    model_config = example(DELIVERY, SOCKET_DELIVERY)

    id: str
    post: str
    version: int
    recipient: str
    offset: int
    channel: ChannelWord
    endpoint: str | None = left_out()
    state: StateWord
    parked: bool
    attempts: int
    last_status: int | None = left_out()
    last_error: str | None = left_out()
    next_attempt_at: TimeText | None = left_out()
    updated_at: TimeText


class FullDelivery(Delivery):
    """A delivery with every attempt that is still in the log, the oldest first."""

    model_config = example({**DELIVERY, "log": [ATTEMPT]})

    log: list[Attempt]


class Counts(Out):
    model_config = example(COUNTS)

    pending: int
    retrying: int
    delivered: int
    dead: int
    suppressed: int
    cancelled: int


class Deliveries(Out):
    """`counts` are of the whole post; a page may be short while `next` still goes on."""

    model_config = example(
        {
            "counts": COUNTS,
            "fanned_out": True,
            "items": [SOCKET_DELIVERY, DELIVERY],
            "next": None,
        }
    )

    counts: Counts
    fanned_out: bool
    items: list[Delivery]
    next: str | None


class DeadLetters(Out):
    model_config = example({"items": [], "next": None})

    items: list[Delivery]
    next: str | None


class Replay(Body):
    """Which dead letters to send again: all, or an endpoint's, or those since a time."""

    model_config = example({}, {"endpoint": ENDPOINT_ID, "since": POSTED_AT})

    endpoint: EndpointId | None = None
    since: Time | None = None


class Scheduled(Out):
    model_config = example({"scheduled": 2})

    scheduled: int
