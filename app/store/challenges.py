"""Challenges of endpoints, in the store: how many a host gets, and what came of each."""

import json
from dataclasses import dataclass
from typing import Literal

from app.domain.ids import shard_of_id
from app.domain.shard import shard_of
from app.store import keys
from app.store.client import Store

SPAN_MS = 60_000  # in which a host gets so many
REPLY_TTL_S = 60
LATER = b"later"  # the reply to who asks for a challenge when none may be sent

Result = Literal["echoed", "failed", "later"]


@dataclass(frozen=True, slots=True)
class Settled:
    """What came of a challenge of the endpoint `id`, which had this `url` then.

    `challenges` is how many it was sent so far, `entry` what its attempt log is to hold of this
    one. `due_ms` is when it is sent the next, by the schedule, and `shown_due_ms` by the wall
    clock; None for never, and with `keeps_due` it stays as it was.
    """

    id: str
    url: str
    result: Result
    error: str = ""
    challenges: int = 0
    entry: bytes = b""
    due_ms: int | None = None
    shown_due_ms: int = 0
    keeps_due: bool = False


async def take(store: Store, shards: int, host: str, per_host_max: int) -> int:
    """Counts a challenge to this host. 0, or after how many ms it may be asked again.

    For all senders together, and whoever's endpoints they are.
    """
    key = keys.challenges(shard_of(host, shards), host)
    return await store.call("take_challenge", [key], [per_host_max, SPAN_MS])


async def settle(
    store: Store, settled: Settled, request: str, reply: bytes, log: tuple[int, int, int]
) -> bool:
    """True when the endpoint is verified by this. `reply` goes to who made the request, if any;
    `log` is how many attempts are kept, for how long in s, and how many changes are."""
    shard, id_ = shard_of_id(settled.id), settled.id
    due = "-" if settled.keeps_due else "" if settled.due_ms is None else settled.due_ms
    log_max, log_ttl_s, changes_max = log
    named = [
        keys.endpoint(shard, id_),
        keys.endpoint_states(shard),
        keys.probes(shard),
        keys.changes(shard),
        keys.attempts(shard, id_),
        keys.reply(shard, request),
    ]
    head = [id_, kept_url(settled.url), settled.result, settled.error, settled.challenges]
    rest = [settled.entry, log_max, log_ttl_s, changes_max, reply, REPLY_TTL_S]
    args = [*head, due, settled.shown_due_ms, *rest]
    return await store.call("settle_challenge", named, args) == 1


def kept_url(url: str) -> str:
    """A URL as an endpoint's hash has it."""
    return json.dumps(url)
