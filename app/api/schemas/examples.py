"""The values that the description's examples are made of, so that they fit together."""

from typing import Any

from pydantic import BaseModel, ConfigDict

POST_ID = "01kg9ys7g0d2pf2d03"
ENDPOINT_ID = "ky77tv2v00"
DELIVERY_ID = f"{POST_ID}-1-0-{ENDPOINT_ID}"
SOCKET_DELIVERY_ID = f"{POST_ID}-1-0-0-0"
KEY_ID = "3f9a1c0b7d52"

POSTED_AT = "2026-01-31T12:00:00.000Z"
SENT_AT = "2026-01-31T12:00:00.021Z"
DUE_AT = "2026-01-31T12:00:05.614Z"

DATA = {"text": "Up on the roof again"}
POST = {
    "id": POST_ID,
    "author": "ann",
    "type": "post",
    "version": 1,
    "created_at": POSTED_AT,
    "data": DATA,
}
EPOCH = "0123456789ab"
ITEM = {"offset": 1, "type": "post.created", "post": POST}
ENDPOINT = {
    "id": ENDPOINT_ID,
    "user": "bob",
    "url": "https://hooks.example.com/bob",
    "types": ["post.*"],
    "method": "POST",
    "headers": {"x-tenant": "7"},
    "rate_per_s": None,
    "retry_schedule_s": None,
    "description": "Bob's reader",
    "state": "active",
    "disabled_reason": None,
    "created_at": POSTED_AT,
    "last_success_at": None,
    "consecutive_failures": 0,
    "first_failure_at": None,
    "open_until": None,
    "signing": "hmac",
    "public_key": None,
    "verification": None,
}
VERIFICATION = {"challenges": 1, "last_error": "challenge", "next_at": DUE_AT}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="
CHALLENGE = "9fQm0c7vT1xqZr4uWkYb2sDhJ8nLpEoA6tGiRyVfXwM"
PUBLIC_KEY = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
ATTEMPT = {
    "delivery": DELIVERY_ID,
    "attempt": 1,
    "at": SENT_AT,
    "status": 503,
    "error": "http_5xx",
    "duration_ms": 4.2,
    "response": "come back later",
}
DELIVERY = {
    "id": DELIVERY_ID,
    "post": POST_ID,
    "version": 1,
    "recipient": "bob",
    "offset": 1,
    "channel": "webhook",
    "endpoint": ENDPOINT_ID,
    "state": "retrying",
    "parked": False,
    "attempts": 1,
    "last_status": 503,
    "last_error": "http_5xx",
    "next_attempt_at": DUE_AT,
    "updated_at": SENT_AT,
}
SOCKET_DELIVERY = {
    "id": SOCKET_DELIVERY_ID,
    "post": POST_ID,
    "version": 1,
    "recipient": "bob",
    "offset": 1,
    "channel": "socket",
    "state": "pending",
    "parked": False,
    "attempts": 0,
    "updated_at": POSTED_AT,
}
COUNTS = {
    "pending": 1,
    "retrying": 1,
    "delivered": 0,
    "dead": 0,
    "suppressed": 0,
    "cancelled": 0,
}
KEY = {
    "id": KEY_ID,
    "hint": "mk_8sKq2",
    "name": "importer",
    "scopes": ["publish", "read"],
    "verify_endpoints": False,
    "created_at": POSTED_AT,
    "rate_per_s": 200.0,
}


def example(*values: dict[str, Any], never: dict[str, Any] | None = None) -> ConfigDict:
    """The configuration of a model that shows these values as its examples, and tells of fields
    that do not go together: `never` is what each of them must be like for that."""
    told: dict[str, Any] = {"examples": list(values)}
    if never is not None:
        told["not"] = {"properties": never, "required": list(never)}
    return ConfigDict(json_schema_extra=told)


def example_of(model: type[BaseModel]) -> tuple[dict[str, Any], ...]:
    """The values that a model shows as its examples."""
    told: Any = model.model_config.get("json_schema_extra", {})
    return tuple(told.get("examples", ()))
