"""What waits in one shard and for how long, who holds its leases, and how full the servers are.

One round trip of commands that take no longer for a million entries than for one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.breaker import EndpointState
from app.errors import CommandRejected
from app.store import keys
from app.store.client import Store
from app.store.fitness import info_fields
from app.store.stats import ROLES

_STREAMS = ("posts", "deliveries", "redeliveries")
_STATES = tuple(state.value for state in EndpointState)


@dataclass(frozen=True, slots=True)
class Backlog:
    """`entries` and `oldest_s` by queue: posts, deliveries, redeliveries, retries, dead.

    The oldest entry of a stream may be in work already; of the retries it counts for how long the
    first one has been due. Dead letters have no such age: they wait for nobody. `unowned` are roles
    whose lease nobody holds. `endpoints` by state.
    """

    entries: dict[str, int]
    oldest_s: dict[str, float]
    unowned: frozenset[str]
    endpoints: dict[str, int]


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one server, in bytes. `limit` is its maxmemory, or all its machine has."""

    used: int
    limit: int


async def read_backlog(store: Store, shard: int, now_ms: int) -> Backlog:
    """Raises `StoreError`."""
    streams = [keys.posts(shard), keys.deliveries(shard), keys.redeliveries(shard)]
    replies = await store.run_many(
        [
            *(("XLEN", key) for key in streams),
            *(("XRANGE", key, "-", "+", "COUNT", 1) for key in streams),
            ("ZCARD", keys.retries(shard)),
            ("ZRANGE", keys.retries(shard), 0, 0, "WITHSCORES"),
            ("GET", keys.shift(shard)),
            ("ZCARD", keys.dead(shard)),
            *(("GET", keys.lease(shard, role)) for role in ROLES),
            ("HMGET", keys.endpoint_states(shard), *_STATES),
        ]
    )
    lengths, firsts, (retries, due, shift, dead), rest = (
        replies[:3],
        replies[3:6],
        replies[6:10],
        replies[10:],
    )
    oldest = {name: _age_s(first, now_ms) for name, first in zip(_STREAMS, firsts, strict=True)}
    # The schedule goes by a clock that nobody sets: see workers/schedule.py.
    late_ms = now_ms - int(shift or 0) - float(due[1]) if due else 0.0
    *tokens, counts = rest
    return Backlog(
        entries={**dict(zip(_STREAMS, lengths, strict=True)), "retries": retries, "dead": dead},
        oldest_s={**oldest, "retries": max(late_ms / 1000, 0.0)},
        unowned=frozenset(role for role, token in zip(ROLES, tokens, strict=True) if token is None),
        endpoints={state: int(count or 0) for state, count in zip(_STATES, counts, strict=True)},
    )


def _age_s(first: Sequence[Any], now_ms: int) -> float:
    """Of the entry that an XRANGE brought, by the time in its id; 0 when there is none."""
    return max(now_ms - int(first[0][0].partition(b"-")[0]), 0) / 1000 if first else 0.0


async def read_memory(store: Store) -> dict[str, Memory]:
    """By server; empty where INFO is not allowed. Raises `StoreError`."""
    try:
        reports = await store.on_each("INFO", "memory")
    except CommandRejected:
        return {}
    return {name: _memory(info_fields(report)) for name, report in reports.items()}


def _memory(info: dict[str, str]) -> Memory:
    limit = int(info.get("maxmemory", 0)) or int(info.get("total_system_memory", 0))
    return Memory(int(info.get("used_memory", 0)), limit)
