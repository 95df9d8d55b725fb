"""Challenges: requests that an endpoint's receiver has to echo before it is sent anything else.

How often a stranger can be bothered by that is bound three times: a host gets so many in a minute
from all senders together, a sender sends so many in a second, and an address gets as many as its
schedule has times, then only those that calls ask for.
"""

import logging
import os
import random
import secrets
from collections import Counter
from dataclasses import dataclass, field, replace
from time import monotonic

from app.clock import now_ms, steady_ms
from app.domain.attempt import Failure, Outcome
from app.domain.bucket import Bucket
from app.domain.challenge import TYPE, is_echo, new_challenge
from app.errors import ClientClosed, StoreError
from app.store.challenges import LATER, Result, Settled, settle, take
from app.store.client import Store
from app.wire import encode_attempt
from workers.errands import Errands
from workers.excerpt import without_secrets
from workers.http.client import Client
from workers.messages import message_to
from workers.outcomes import log_ttl_s
from workers.schedule import Schedule
from workers.target import Target

log = logging.getLogger(__name__)

AT_ONCE_MAX = 1_000  # of a shard; the rate keeps it far below
# Until an endpoint is looked after again when nothing has come of its challenge: its sender died.
LOST_MS = 10_000
PROXY_MS = 30_000  # until the next, when the egress proxy could not be used: that is none
BUSY_MS = 5_000  # and up to three times that, until what found no room is tried again
PER_HOST, PER_S = "challenges_per_host_max", "challenges_per_s_max"


@dataclass(slots=True)
class ChallengeStats:
    """Counters of one worker: by result ("ok" or the class of error), and by the limit reached."""

    results: Counter[str] = field(default_factory=Counter[str])
    limited: Counter[str] = field(default_factory=Counter[str])


@dataclass(frozen=True, slots=True)
class ChallengeLimits:
    """`schedule_s`: after which delays an address is sent a second, third … by itself."""

    schedule_s: tuple[float, ...]
    per_host_max: int
    deadline_s: float
    excerpt_bytes_max: int
    log_max: int
    retention_s: int
    changes_max: int


class Challenges:
    """The challenges of one shard. `client` keeps as much of an answer as an echo may take, and
    `bucket` is that of the whole process."""

    def __init__(
        self,
        store: Store,
        *,
        shards: int,
        client: Client,
        bucket: Bucket,
        limits: ChallengeLimits,
        schedule: Schedule,
        stats: ChallengeStats,
    ) -> None:
        self._store = store
        self._shards = shards
        self._client = client
        self._bucket = bucket
        self._limits = limits
        self._schedule = schedule
        self._stats = stats
        self._errands = Errands("challenge", AT_ONCE_MAX)

    def begin(self, target: Target) -> int | None:
        """Sends the one that is due. Returns when to look after the endpoint again, should nothing
        come of it; None when it has had all that it gets by itself."""
        if target.challenges > len(self._limits.schedule_s):
            return None
        at_ms = steady_ms()
        if not self._may_send():
            return at_ms + round(BUSY_MS * random.uniform(1, 3))
        self._errands.begin(self._challenge(target, ""), target.id)
        return at_ms + round(self._limits.deadline_s * 1000) + LOST_MS

    def send(self, request: str, target: Target) -> None:
        """Sends one because a call asks for it, and answers that with what came of it."""
        may_send = self._may_send()
        made = self._challenge(target, request) if may_send else self._refuse(target, request)
        self._errands.begin(made, target.id)

    async def close(self) -> None:
        """Cuts those under way: whoever owns the shard next sends them anew."""
        await self._errands.close()

    def _may_send(self) -> bool:
        now_s = monotonic()
        if self._errands.is_full or self._bucket.ready_at_s > now_s:
            self._stats.limited[PER_S] += 1
            return False
        self._bucket.take(now_s)
        return True

    async def _challenge(self, target: Target, request: str) -> None:
        """`request` is that of a call, "" when the endpoint's own schedule has one due."""
        try:
            wait_ms = await take(self._store, self._shards, target.host, self._limits.per_host_max)
            if wait_ms:
                self._stats.limited[PER_HOST] += 1
                await self._put_off(target, request, wait_ms)
            else:
                await self._send(target, request)
        except ClientClosed:
            return
        except StoreError as error:
            # It is looked after again, at the time that was set when it began.
            extra = {"endpoint": target.id, "error": str(error)}
            log.warning("what came of a challenge could not be noted", extra=extra)

    async def _refuse(self, target: Target, request: str) -> None:
        try:
            await self._put_off(target, request, 0)
        except StoreError as error:
            log.warning("a challenge could not be refused", extra={"error": str(error)})

    async def _put_off(self, target: Target, request: str, wait_ms: int) -> None:
        due_ms = steady_ms() + round(wait_ms * random.uniform(1.0, 1.2))
        later = self._due(Settled(target.id, target.url_text, "later"), request, due_ms)
        await self._settle(later, request, LATER)

    async def _send(self, target: Target, request: str) -> None:
        at_ms, challenge, text = now_ms(), new_challenge(os.urandom), target.url_text
        id_ = f"verify-{request or secrets.token_hex(8)}"
        data: dict[str, object] = {"challenge": challenge, "endpoint": target.id}
        url, head, body = message_to(target, id_, TYPE, data, at_ms)
        sent = target.challenges + 1
        outcome = await self._client.request(url, head, body)
        if outcome.ok and not is_echo(outcome.excerpt, challenge):
            outcome = replace(outcome, failure=Failure.CHALLENGE)
        self._note(target, outcome)
        excerpt = without_secrets(
            outcome.excerpt[: self._limits.excerpt_bytes_max], target.header_secrets
        )
        shown = replace(outcome, excerpt=excerpt)
        entry = encode_attempt(id_, sent, at_ms, shown)
        settled = Settled(
            target.id,
            text,
            _result(outcome),
            error=outcome.error or "",
            challenges=sent,
            entry=entry,
        )
        due_ms = self._next_ms(settled)
        await self._settle(self._due(settled, request, due_ms), request, entry)

    def _next_ms(self, settled: Settled) -> int | None:
        delays, sent = self._limits.schedule_s, settled.challenges
        if settled.result == "later":
            return steady_ms() + PROXY_MS
        return steady_ms() + round(delays[sent - 1] * 1000) if sent <= len(delays) else None

    def _due(self, settled: Settled, request: str, due_ms: int | None) -> Settled:
        """With the time of the next one, which a call does not change."""
        if request:
            return replace(settled, keeps_due=True)
        if due_ms is None:
            return settled
        schedule = self._schedule
        return replace(
            settled, due_ms=schedule.to_store(due_ms), shown_due_ms=schedule.to_wall(due_ms)
        )

    async def _settle(self, settled: Settled, request: str, reply: bytes) -> None:
        limits = self._limits
        kept = limits.log_max, log_ttl_s(limits.retention_s), limits.changes_max
        asked = request or settled.id
        verified = await settle(self._store, settled, asked, reply if request else b"", kept)
        if verified:
            log.info("endpoint verified", extra={"endpoint": settled.id})

    def _note(self, target: Target, outcome: Outcome) -> None:
        self._stats.results[outcome.error or "ok"] += 1
        if not outcome.ok:
            extra = {"endpoint": target.id, "status": outcome.status, "error": outcome.error}
            log.info("a challenge was not echoed", extra=extra)


def _result(outcome: Outcome) -> Result:
    if outcome.ok:
        return "echoed"
    return "later" if outcome.failure is Failure.PROXY else "failed"
