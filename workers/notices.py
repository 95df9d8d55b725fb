"""What the service itself tells users of their endpoints: posts, made here, sent like any other."""

import secrets

from app.domain.ids import POST_RANDOM_BITS, post_id, shard_of_id
from app.domain.post import ENDPOINT_DISABLED, SERVICE, Audience, Event, EventKind
from app.wire import encode_audience, encode_event, encode_json, rfc3339
from workers.target import Target

# Post id, event, author, type, data, audience: as record_outcomes.lua takes it.
Notice = tuple[str, bytes, str, str, bytes, bytes]


def endpoint_disabled(target: Target, at_ms: int) -> Notice:
    """To the owner of an endpoint that is sent nothing any more."""
    shard = shard_of_id(target.id)
    post = post_id(at_ms, secrets.randbits(POST_RANDOM_BITS), shard)
    health = target.health
    data = {
        "endpoint": {
            "id": target.id,
            "url": str(target.url),
            "disabled_reason": health.disabled_reason,
            "consecutive_failures": health.consecutive_failures,
            "first_failure_at": _time(health.first_failure_at_ms),
            "last_success_at": _time(health.last_success_at_ms),
        }
    }
    audience = Audience(only=frozenset({target.user}), unasked=True)
    event = encode_event(Event(post, 1, EventKind.CREATED))
    return post, event, SERVICE, ENDPOINT_DISABLED, encode_json(data), encode_audience(audience)


def _time(at_ms: int | None) -> str | None:
    return None if at_ms is None else rfc3339(at_ms)
