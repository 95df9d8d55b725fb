"""What receivers of webhooks are sent and may answer. The sender makes it; here it is described."""

from typing import Any, Literal

from app.api.schemas.examples import (
    CHALLENGE,
    DELIVERY_ID,
    ENDPOINT_ID,
    POST,
    POSTED_AT,
    example,
)
from app.api.schemas.feed import ExpiredPost, PushedPost
from app.api.schemas.fields import Out, TimeText

_TEXT: dict[str, Any] = {"type": "string"}
# Name, meaning, schema.
WEBHOOK_HEADERS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (
        "webhook-id",
        "The delivery's id, the same on every attempt.",
        {**_TEXT, "examples": [DELIVERY_ID]},
    ),
    (
        "webhook-timestamp",
        "When this attempt was made, in Unix seconds.",
        {"type": "integer", "examples": [1_769_860_800]},
    ),
    (
        "webhook-signature",
        "`v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`, once for each live secret, "
        "separated by spaces.",
        {**_TEXT, "examples": ["v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="]},
    ),
    ("moments-attempt", "1 for the first.", {"type": "integer", "minimum": 1}),
)
# Only of a post that is traced.
TRACEPARENT: dict[str, Any] = {
    "name": "traceparent",
    "in": "header",
    "required": False,
    "description": "Of a post that is traced: its place in the trace, as W3C Trace Context has it.",
    "schema": {
        **_TEXT,
        "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-01$",
        "examples": ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
    },
}


class WebhookData(Out):
    model_config = example({"post": POST})

    post: PushedPost | ExpiredPost


class Webhook(Out):
    """Signed by the Standard Webhooks scheme. With the method `GET` the fields are in the query."""

    model_config = example(
        {
            "type": "post.created",
            "timestamp": POSTED_AT,
            "recipient": "bob",
            "offset": 1,
            "data": {"post": POST},
        }
    )

    type: str
    timestamp: TimeText
    recipient: str
    offset: int
    data: WebhookData


class PingData(Out):
    model_config = example({"ping": True})

    ping: Literal[True]


class WebhookPing(Out):
    """What `:ping` has sent: about no post, to be answered as any other."""

    model_config = example({"type": "ping", "timestamp": POSTED_AT, "data": {"ping": True}})

    type: Literal["ping"]
    timestamp: TimeText
    data: PingData


class ChallengeData(Out):
    model_config = example({"challenge": CHALLENGE, "endpoint": ENDPOINT_ID})

    challenge: str
    endpoint: str


class WebhookChallenge(Out):
    """What an unverified endpoint is sent: it is verified once its receiver has answered 2xx with
    the challenge."""

    model_config = example(
        {
            "type": "endpoint.verify",
            "timestamp": POSTED_AT,
            "data": {"challenge": CHALLENGE, "endpoint": ENDPOINT_ID},
        }
    )

    type: Literal["endpoint.verify"]
    timestamp: TimeText
    data: ChallengeData


class ChallengeEcho(Out):
    """The answer that verifies an endpoint. Further fields do not matter."""

    model_config = example({"challenge": CHALLENGE})

    challenge: str
