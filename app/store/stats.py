"""What the service is busy with: queues, leases, nodes, workers, endpoints by state.

Everything here is a length or a counter that is kept anyway: two round trips to each server,
whatever waits, and nothing is walked.
"""

from collections.abc import Sequence
from typing import Any, TypedDict

from app.domain.breaker import EndpointState
from app.domain.snapshot import Snapshot
from app.store import keys
from app.store.client import Store
from app.store.processes import read_processes
from app.store.replies import pairs

MEMBERS_MAX = 1_000  # nodes and workers listed

ROLES = (keys.FANOUT, keys.SENDER, keys.JANITOR)
_STATES = tuple(state.value for state in EndpointState)


class Queues(TypedDict):
    """Entries that wait. `posts` and `deliveries` count a whole post or slice as one."""

    posts: int
    deliveries: int
    redeliveries: int
    retries: int
    dead: int


class Lease(TypedDict):
    """`holder` is the worker's id, None while nobody holds the lease."""

    role: str
    shard: int
    holder: str | None


class Member(TypedDict):
    """A live process; `seen_at_ms` is when it last said so."""

    id: str
    seen_at_ms: int


class Worker(TypedDict):
    id: str
    role: str
    seen_at_ms: int


class Stats(TypedDict):
    """`processes` are those that have told of themselves in the last seconds."""

    shards: int
    queues: Queues
    queues_by_shard: list[Queues]
    leases: list[Lease]
    nodes: list[Member]
    workers: list[Worker]
    endpoints: dict[str, int]
    processes: list[Snapshot]


async def read_stats(store: Store, shards: int) -> Stats:
    commands: list[tuple[Any, ...]] = [_members(keys.NODES), _members(keys.WORKERS)]
    for shard in range(shards):
        commands += _commands(shard)
    nodes, workers, *rest = await store.run_many(commands)
    width = len(rest) // shards
    rows = [rest[start : start + width] for start in range(0, len(rest), width)]
    by_shard = [_queues(row) for row in rows]
    members: list[Member] = [{"id": name, "seen_at_ms": at_ms} for name, at_ms in _seen(nodes)]
    living = [_worker(name, at_ms) for name, at_ms in _seen(workers)]
    ids = sorted({member["id"] for member in (*members, *living)})
    return {
        "shards": shards,
        "queues": _sum(by_shard),
        "queues_by_shard": by_shard,
        "leases": [lease for shard, row in enumerate(rows) for lease in _leases(shard, row)],
        "nodes": members,
        "workers": living,
        "endpoints": _endpoints([row[-1] for row in rows]),
        "processes": await read_processes(store, shards, ids),
    }


def _members(key: bytes) -> tuple[Any, ...]:
    return ("ZRANGE", key, 0, MEMBERS_MAX - 1, "REV", "WITHSCORES")


def _commands(shard: int) -> list[tuple[Any, ...]]:
    """In the order in which `_queues`, `_leases` and `_endpoints` take the replies."""
    return [
        ("XLEN", keys.posts(shard)),
        ("XLEN", keys.deliveries(shard)),
        ("XLEN", keys.redeliveries(shard)),
        ("ZCARD", keys.retries(shard)),
        ("ZCARD", keys.dead(shard)),
        *(("GET", keys.lease(shard, role)) for role in ROLES),
        ("HMGET", keys.endpoint_states(shard), *_STATES),
    ]


def _queues(row: Sequence[Any]) -> Queues:
    posts, deliveries, redeliveries, retries, dead = row[:5]
    return {
        "posts": posts,
        "deliveries": deliveries,
        "redeliveries": redeliveries,
        "retries": retries,
        "dead": dead,
    }


def _sum(by_shard: Sequence[Queues]) -> Queues:
    return {
        "posts": sum(queues["posts"] for queues in by_shard),
        "deliveries": sum(queues["deliveries"] for queues in by_shard),
        "redeliveries": sum(queues["redeliveries"] for queues in by_shard),
        "retries": sum(queues["retries"] for queues in by_shard),
        "dead": sum(queues["dead"] for queues in by_shard),
    }


def _leases(shard: int, row: Sequence[Any]) -> list[Lease]:
    return [
        {"role": role, "shard": shard, "holder": _holder(token)}
        for role, token in zip(ROLES, row[5 : 5 + len(ROLES)], strict=True)
    ]


def _holder(token: bytes | None) -> str | None:
    """The worker's id: a token is that, a dot, and its random part."""
    return None if token is None else token.decode().rpartition(".")[0]


def _seen(flat: Sequence[Any]) -> list[tuple[str, int]]:
    return [(name.decode(), int(float(score))) for name, score in pairs(flat)]


def _worker(member: str, at_ms: int) -> Worker:
    role, _, id_ = member.partition(":")
    return {"id": id_, "role": role, "seen_at_ms": at_ms}


def _endpoints(rows: Sequence[Sequence[bytes | None]]) -> dict[str, int]:
    columns = zip(*rows, strict=True)
    return {
        state: sum(int(count or 0) for count in column)
        for state, column in zip(_STATES, columns, strict=True)
    }
