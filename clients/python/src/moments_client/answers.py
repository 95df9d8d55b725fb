"""What the service answers and pushes, as frozen dataclasses; times are aware `datetime`s.

They are named, and their fields too, as in the service's own description (`/openapi.json`).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from moments_client.decoding import named

EdgeKind = Literal["friend", "follow", "block"]
Scope = Literal["admin", "publish", "read"]
Method = Literal["POST", "GET", "rest"]
Signing = Literal["hmac", "ed25519"]
EndpointState = Literal["active", "open", "disabled", "unverified"]
Channel = Literal["webhook", "socket"]
Role = Literal["api", "gateway", "worker"]
DeliveryState = Literal["pending", "retrying", "delivered", "dead", "suppressed", "cancelled"]


# Posts.


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A post. Once deleted it has `deleted` and no data."""

    id: str
    author: str
    type: str
    version: int
    created_at: datetime
    updated_at: datetime
    data: dict[str, Any] | None
    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PostHead:
    """A post without its data."""

    id: str
    author: str
    type: str
    version: int
    created_at: datetime
    updated_at: datetime
    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Posts:
    """The newest posts; of each shard those that wait for fan-out, and the 500 fanned out last."""

    items: list[PostHead]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedPost:
    """A post as it is pushed. Once deleted it has `deleted` and no data."""

    id: str
    author: str
    type: str
    version: int
    created_at: datetime
    data: dict[str, Any] | None
    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiredPost:
    """What is left of a post that is no longer kept."""

    id: str
    expired: bool


# The feed.


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedItem:
    """An event at its offset, and the post as it is now: `<type>.created`, `.updated` or
    `.deleted`; or `endpoint.disabled`, of the service itself."""

    offset: int
    type: str
    post: PushedPost | ExpiredPost


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Offsets that are gone, both ends included."""

    from_: int = named("from")
    to: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """A page of a feed; `next_offset` is the `after` of the next one. `gap`: what is gone before
    its first item."""

    epoch: str
    items: list[FeedItem]
    next_offset: int
    head_offset: int
    cursor: int
    gap: Gap | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far a user has dealt with their feed."""

    cursor: int
    head_offset: int
    unread: int


# Deliveries.


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try: `status` and `response` are the receiver's, `error` is None on success."""

    delivery: str
    attempt: int
    at: datetime
    status: int | None
    error: str | None
    duration_ms: float
    response: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One post, one recipient, one channel. `parked`: waits until its endpoint is well again."""

    id: str
    post: str
    version: int
    recipient: str
    offset: int
    channel: Channel
    state: DeliveryState
    parked: bool
    attempts: int
    updated_at: datetime
    endpoint: str | None = None
    last_status: int | None = None
    last_error: str | None = None
    next_attempt_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FullDelivery(Delivery):
    """A delivery with every attempt that is still in the log, the oldest first."""

    log: list[Attempt]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Deliveries of a whole post, by state."""

    pending: int
    retrying: int
    delivered: int
    dead: int
    suppressed: int
    cancelled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliveries:
    """A page of a post's deliveries; `counts` are of the whole post."""

    counts: Counts
    fanned_out: bool
    items: list[Delivery]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetters:
    """A page of deliveries that were given up."""

    items: list[Delivery]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """A page of an endpoint's attempts, the newest first."""

    items: list[Attempt]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """How many deliveries are to be made again."""

    scheduled: int


# Endpoints.


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """How many challenges an endpoint was sent, what was wrong with the last answer, and when the
    next is sent by itself; None: when it is asked for."""

    challenges: int
    last_error: str | None
    next_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A webhook address of a user. Values of its headers are shown to admin keys only."""

    id: str
    user: str
    url: str
    types: list[str]
    method: Method
    headers: dict[str, str]
    rate_per_s: float | None
    retry_schedule_s: list[float] | None
    description: str | None
    state: EndpointState
    disabled_reason: str | None
    created_at: datetime
    last_success_at: datetime | None
    consecutive_failures: int
    first_failure_at: datetime | None
    open_until: datetime | None
    signing: Signing
    public_key: str | None
    verification: Verification | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FullEndpoint(Endpoint):
    """An endpoint with its newest secret, which no other answer shows; None with `ed25519`."""

    secret: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """A page of a user's endpoints."""

    items: list[Endpoint]
    next: str | None


# The graph.


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """A page of user ids."""

    items: list[str]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LineError:
    """A line of an import that could not be taken; the first line is 1."""

    line: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """`created` counts new edges, `lines` those that were not blank; `errors` has the first 1,000
    lines that could not be taken, `errors_omitted` counts the rest."""

    created: int
    lines: int
    errors: list[LineError]
    errors_omitted: int


# Keys and tokens.


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A user's token, for their feed and sockets."""

    token: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An API key: `id` names it in calls, `hint` is how its secret begins."""

    id: str
    hint: str
    name: str
    scopes: list[Scope]
    verify_endpoints: bool
    created_at: datetime
    rate_per_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeKey(Key):
    """`key` is the secret itself, shown only here."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """All API keys."""

    items: list[Key]
    next: str | None


# Operations.


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    status: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    ready: bool
    checks: dict[str, Check]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues:
    """Entries that wait. `posts` and `deliveries` count a whole post or slice as one."""

    posts: int
    deliveries: int
    redeliveries: int
    retries: int
    dead: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who owns a shard in a role; `holder` is None while nobody does."""

    role: str
    shard: int
    holder: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A process through which users are reached."""

    id: str
    seen_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    id: str
    role: str
    seen_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ByChannel:
    """A number of deliveries for each channel."""

    webhook: int
    socket: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketsByChannel:
    """Deliveries by how long they took, for each channel: see `PushSeconds`."""

    webhook: list[int]
    socket: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PushSeconds:
    """How long it took from the acceptance of a post to its push, in seconds. `counts` has one
    number for each bucket: up to the first of `bounds`, up to the second, and so on, and above the
    last."""

    bounds: list[float]
    counts: BucketsByChannel


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that lives, as it told of itself at `seen_at`; totals are since `started_at`."""

    id: str
    role: Role
    version: str
    started_at: datetime
    seen_at: datetime
    memory_bytes: int
    delivered: ByChannel
    sockets_open: int
    attempts_open: int
    leases_held: int
    posts_accepted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Queues in all and by shard, who owns what, who lives, endpoints by state. `delivered` and
    `push_seconds` are the sums of what the living processes have counted since they started."""

    shards: int
    queues: Queues
    queues_by_shard: list[Queues]
    leases: list[Lease]
    nodes: list[Node]
    workers: list[Worker]
    endpoints: dict[str, int]
    processes: list[Process]
    delivered: ByChannel
    push_seconds: PushSeconds
