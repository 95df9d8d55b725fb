"""Pings: a request sent to an endpoint at once, because a call asks for it, and the answer to that.

They go past lanes and breaker, count for nothing, and are signed like any other request.
"""

import logging
from collections import Counter
from dataclasses import dataclass, field, replace

from app.clock import now_ms
from app.domain.attempt import Outcome
from app.domain.breaker import EndpointState
from app.errors import ClientClosed, StoreError
from app.store import keys
from app.store.client import Store
from app.wire import encode_attempt
from workers.errands import Errands
from workers.excerpt import without_secrets
from workers.http.client import Client
from workers.messages import message_to
from workers.outcomes import log_ttl_s
from workers.target import Target

log = logging.getLogger(__name__)

PINGS_MAX = 100  # at once; more are left unanswered, and the api says so
REPLY_TTL_S = 60


@dataclass(slots=True)
class PingStats:
    results: Counter[str] = field(default_factory=Counter[str])  # "ok" or the class of error


@dataclass(frozen=True, slots=True)
class PingLimits:
    log_max: int
    retention_s: int


class Pings:
    """The pings of one shard that are under way."""

    def __init__(
        self, store: Store, *, shard: int, client: Client, limits: PingLimits, stats: PingStats
    ) -> None:
        self._store = store
        self._shard = shard
        self._client = client
        self._limits = limits
        self._stats = stats
        self._errands = Errands("ping", PINGS_MAX)

    def send(self, request: str, target: Target) -> None:
        if self._errands.is_full:
            log.warning("too many pings at once", extra={"endpoint": target.id})
        elif target.health.state is EndpointState.UNVERIFIED:
            log.info("not pinged: unverified", extra={"endpoint": target.id})
        else:
            self._errands.begin(self._ping(request, target), target.id)

    async def close(self) -> None:
        """Cuts those under way: whoever asked will hear that nobody has answered."""
        await self._errands.close()

    async def _ping(self, request: str, target: Target) -> None:
        at_ms = now_ms()
        id_ = f"ping-{request}"
        url, head, body = message_to(target, id_, "ping", {"ping": True}, at_ms)
        try:
            outcome = await self._client.request(url, head, body)
        except ClientClosed:
            return
        self._stats.results[outcome.error or "ok"] += 1
        shown = without_secrets(outcome.excerpt, target.header_secrets)
        outcome = replace(outcome, excerpt=shown)
        await self._answer(request, target, encode_attempt(id_, 1, at_ms, outcome), outcome)

    async def _answer(self, request: str, target: Target, entry: bytes, outcome: Outcome) -> None:
        limits = self._limits
        try:
            await self._store.call(
                "answer_ping",
                [keys.reply(self._shard, request), keys.attempts(self._shard, target.id)],
                [entry, REPLY_TTL_S, limits.log_max, log_ttl_s(limits.retention_s)],
            )
        except StoreError as error:
            log.warning(
                "ping could not be answered",
                extra={"endpoint": target.id, "outcome": outcome.error, "error": str(error)},
            )
