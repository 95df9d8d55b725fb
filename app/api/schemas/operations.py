"""Health and statistics in answers."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from app.api.problems import KINDS
from app.api.schemas.examples import POSTED_AT, SENT_AT, example
from app.api.schemas.fields import Out, TimeText, left_out

_KINDS = f"Behind `urn:moments:problem:` stands one of {', '.join(kind.word for kind in KINDS)}."
_DELIVERED = {"webhook": 5_210, "socket": 0}
_PUSH_SECONDS: dict[str, Any] = {
    "bounds": [0.01, 0.1, 1.0],
    "counts": {"webhook": [310, 4_800, 88, 12], "socket": [0, 0, 0, 0]},
}
_PROCESS = {
    "id": "worker-1f2e3d",
    "role": "worker",
    "version": "0.1.0",
    "started_at": POSTED_AT,
    "seen_at": SENT_AT,
    "memory_bytes": 61_865_984,
    "delivered": _DELIVERED,
    "sockets_open": 0,
    "attempts_open": 3,
    "leases_held": 24,
    "posts_accepted": 0,
}
_QUEUES = {"posts": 0, "deliveries": 3, "redeliveries": 0, "retries": 1, "dead": 0}


class Health(Out):
    model_config = example({"status": "ok", "version": "0.1.0"})

    status: str
    version: str


class Check(Out):
    model_config = example({"ok": True, "detail": "the store answers"})

    ok: bool
    detail: str


class Readiness(Out):
    model_config = example(
        {"ready": True, "checks": {"store": {"ok": True, "detail": "the store answers"}}}
    )

    ready: bool
    checks: dict[str, Check]


class Queues(Out):
    """Entries that wait. `posts` and `deliveries` count a whole post or slice as one."""

    model_config = example(_QUEUES)

    posts: int
    deliveries: int
    redeliveries: int
    retries: int
    dead: int


class Lease(Out):
    """Who owns a shard in a role; `holder` is null while nobody does."""

    model_config = example({"role": "sender", "shard": 0, "holder": "worker-1f2e3d"})

    role: str
    shard: int
    holder: str | None


class Node(Out):
    """A process through which users are reached. `seen_at` is when it last said that it lives."""

    model_config = example({"id": "gateway-1f2e3d", "seen_at": POSTED_AT})

    id: str
    seen_at: TimeText


class Worker(Out):
    model_config = example({"id": "worker-1f2e3d", "role": "sender", "seen_at": POSTED_AT})

    id: str
    role: str
    seen_at: TimeText


class ByChannel(Out):
    model_config = example(_DELIVERED)

    webhook: int
    socket: int


class BucketsByChannel(Out):
    model_config = example(_PUSH_SECONDS["counts"])

    webhook: list[int]
    socket: list[int]


class PushSeconds(Out):
    """How long it took from the acceptance of a post to its push. `counts` has one number for each
    bucket: up to the first of `bounds`, up to the second, and so on, and above the last."""

    model_config = example(_PUSH_SECONDS)

    bounds: list[float]
    counts: BucketsByChannel


class Process(Out):
    """A process that lives, as it told of itself at `seen_at`. Totals are of the time since
    `started_at`; an api delivers nothing, and only a worker has leases and attempts."""

    model_config = example(_PROCESS)

    id: str
    role: Literal["api", "gateway", "worker"]
    version: str
    started_at: TimeText
    seen_at: TimeText
    memory_bytes: int
    delivered: ByChannel
    sockets_open: int
    attempts_open: int
    leases_held: int
    posts_accepted: int


class Stats(Out):
    """Queues in all and by shard, who owns what, who lives, endpoints by state. `delivered` and
    `push_seconds` are the sums of what the living processes have counted since they started."""

    model_config = example(
        {
            "shards": 1,
            "queues": _QUEUES,
            "queues_by_shard": [_QUEUES],
            "leases": [{"role": "sender", "shard": 0, "holder": "worker-1f2e3d"}],
            "nodes": [{"id": "gateway-1f2e3d", "seen_at": POSTED_AT}],
            "workers": [{"id": "worker-1f2e3d", "role": "sender", "seen_at": POSTED_AT}],
            "endpoints": {"active": 12, "open": 1, "disabled": 0, "unverified": 0},
            "processes": [_PROCESS],
            "delivered": _DELIVERED,
            "push_seconds": _PUSH_SECONDS,
        }
    )

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


class Description(Out):
    """An OpenAPI document."""

    model_config = ConfigDict(extra="allow")

    openapi: str


class PushDescription(Out):
    """An AsyncAPI document."""

    model_config = ConfigDict(extra="allow")

    asyncapi: str


class ProblemField(Out):
    model_config = example({"field": "author", "message": "Field required"})

    field: str
    message: str


class ProblemDocument(Out):
    """Problem details (RFC 9457). Some kinds have further members."""

    model_config = example(
        {
            "type": "urn:moments:problem:invalid",
            "title": "The request holds something that cannot be taken",
            "status": 422,
            "detail": "author: Field required",
            "errors": [{"field": "author", "message": "Field required"}],
        }
    )

    type: str = Field(description=f"Names the kind of problem, and never changes. {_KINDS}")
    title: str
    status: int
    detail: str
    errors: list[ProblemField] | None = left_out()
    instance: str | None = left_out()
    ready: bool | None = left_out()
    checks: dict[str, Check] | None = left_out()
    created: int | None = left_out()
    lines_done: int | None = left_out()
