"""Deliveries: where a post is now for everybody, what was tried, and trying again."""

from app.api.answers import Answer, model_answer
from app.api.call import Ask
from app.api.problems import invalid, not_found
from app.api.schemas import deliveries as schemas
from app.api.schemas.deliveries import DeadLetterQuery, DeliveryQuery, Replay
from app.api.schemas.fields import Nothing
from app.clock import now_ms
from app.store.deliveries import Delivery
from app.wire import AttemptEntry, rfc3339


async def of_post(ask: Ask[DeliveryQuery, Nothing]) -> Answer:
    """Where a post is now: one delivery for each recipient and channel, and their counts.

    Every recipient has a `socket` delivery, pending until their cursor passes it, and a `webhook`
    delivery for each of their endpoints that wants the type.
    """
    query = ask.query
    try:
        page = await ask.services.ledger.of_post(
            ask.path["post"],
            state=query.state,
            channel=query.channel,
            after=query.after,
            limit=query.limit,
        )
    except ValueError as error:
        raise invalid("after", str(error)) from None
    if page is None:
        raise not_found("post")
    answer = schemas.Deliveries(
        counts=schemas.Counts(**page.counts),
        fanned_out=page.fanned_out,
        items=[show(delivery) for delivery in page.items],
        next=page.next,
    )
    return model_answer(200, answer)


async def read(ask: Ask[Nothing, Nothing]) -> Answer:
    """A delivery and its attempts."""
    return await _with_log(ask, 200)


async def retry(ask: Ask[Nothing, Nothing]) -> Answer:
    """Sends a delivery again now, whatever its state."""
    if not await ask.services.ledger.retry(ask.path["delivery"], now_ms()):
        raise not_found("delivery")
    return await _with_log(ask, 202)


async def _with_log(ask: Ask[Nothing, Nothing], status: int) -> Answer:
    found = await ask.services.ledger.get(ask.path["delivery"])
    if found is None:
        raise not_found("delivery")
    delivery, entries = found
    log = [show_attempt(entry) for entry in entries]
    return model_answer(status, schemas.FullDelivery(**dict(show(delivery)), log=log))


async def dead(ask: Ask[DeadLetterQuery, Nothing]) -> Answer:
    """Deliveries that were given up, the newest first."""
    query = ask.query
    try:
        found, next_ = await ask.services.ledger.dead_letters(
            query.after, query.limit, query.endpoint
        )
    except ValueError as error:
        raise invalid("after", str(error)) from None
    items = [show(delivery) for delivery in found]
    return model_answer(200, schemas.DeadLetters(items=items, next=next_))


async def replay(ask: Ask[Nothing, Replay]) -> Answer:
    """Schedules dead letters again, spread out in time: all, those of an endpoint, or those since a
    time."""
    services, body = ask.services, ask.body
    scheduled = await services.ledger.replay(
        endpoint=body.endpoint,
        since_ms=body.since,
        now_ms=now_ms(),
        gap_ms=services.limits.drain_gap_ms,
    )
    return model_answer(202, schemas.Scheduled(scheduled=scheduled))


def show(delivery: Delivery) -> schemas.Delivery:
    next_ = delivery.next_attempt_at_ms
    return schemas.Delivery.model_construct(
        id=delivery.id,
        post=delivery.post,
        version=delivery.version,
        recipient=delivery.recipient,
        offset=delivery.offset,
        channel=delivery.channel,
        endpoint=delivery.endpoint,
        state=delivery.state,
        parked=delivery.parked,
        attempts=delivery.attempts,
        last_status=delivery.last_status,
        last_error=delivery.last_error,
        next_attempt_at=None if next_ is None else rfc3339(next_),
        updated_at=rfc3339(delivery.updated_at_ms),
    )


def show_attempt(entry: AttemptEntry) -> schemas.Attempt:
    return schemas.Attempt(
        delivery=entry.delivery,
        attempt=entry.attempt,
        at=rfc3339(entry.at_ms),
        status=entry.status or None,
        error=entry.error,
        duration_ms=entry.duration_ms,
        response=entry.response,
    )
