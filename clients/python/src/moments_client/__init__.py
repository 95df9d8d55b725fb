"""Client of moments: its API, its sockets, and (in `moments_client.webhooks`) its webhooks."""

from moments_client.answers import ExpiredPost, Gap, PushedPost
from moments_client.client import Moments
from moments_client.errors import (
    BadRequest,
    Conflict,
    FieldError,
    Forbidden,
    Invalid,
    InvalidWebhook,
    MomentsError,
    NotFound,
    ProblemError,
    ServerFault,
    SubscriptionClosed,
    TooMany,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)
from moments_client.graph import Edge
from moments_client.messages import Event, Position, Reset
from moments_client.subscription import State, Subscription, subscribe
from moments_client.transport import Retries

__version__ = "0.1.0"

__all__ = [
    "BadRequest",
    "Conflict",
    "Edge",
    "Event",
    "ExpiredPost",
    "FieldError",
    "Forbidden",
    "Gap",
    "Invalid",
    "InvalidWebhook",
    "Moments",
    "MomentsError",
    "NotFound",
    "Position",
    "ProblemError",
    "PushedPost",
    "Reset",
    "Retries",
    "ServerFault",
    "State",
    "Subscription",
    "SubscriptionClosed",
    "TooMany",
    "Unauthenticated",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
    "subscribe",
]
