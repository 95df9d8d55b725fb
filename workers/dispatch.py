"""Sends deliveries: lanes decide when, the HTTP client how, and the outcome says what comes next.

One for a process; the shards it owns bring their deliveries here. First tries and retries take
the same way and differ by a number.
"""

import asyncio
import logging
import random
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic
from typing import Any

from app.clock import now_ms, steady_ms
from app.domain.attempt import Failure, Outcome
from app.domain.backoff import next_delay_s, retry_at_ms, without_date
from app.domain.breaker import (
    EndpointState,
    Health,
    Notice,
    Permit,
    Policy,
    changed_fields,
    may_send,
    on_outcome,
    on_probe,
    spends_attempt,
)
from app.domain.delivery import State
from app.domain.post import Event, Post
from app.metrics import Histogram, push_times
from app.wire import WebhookBody, encode_attempt
from workers.attempts import AttemptTraces, tell_failure, tell_success
from workers.delivery import Item
from workers.excerpt import without_secrets
from workers.http.client import Client
from workers.lanes import Lanes, Offer
from workers.made_bodies import MadeBodies
from workers.outage import Outage
from workers.target import Target

log = logging.getLogger(__name__)

# To read a member off its Enum takes a tenth of a microsecond; these are read for every delivery.
_ACTIVE, _UNVERIFIED = EndpointState.ACTIVE, EndpointState.UNVERIFIED
_SEND, _WAIT, _PARK = Permit.SEND, Permit.WAIT, Permit.PARK
_START, _OVERFLOW = Offer.START, Offer.OVERFLOW
_DELIVERED = State.DELIVERED
_TIMEOUT, _PROXY, _TUNNEL = Failure.TIMEOUT, Failure.PROXY, Failure.TUNNEL

CANCELLED_POSTS_MAX = 10_000
UNUSABLE_S = 60.0  # how often it is tried whether an endpoint can be sent to again


@dataclass(frozen=True, slots=True)
class DispatchRules:
    """How a failed attempt goes on."""

    retry_schedule_s: tuple[float, ...]
    retry_jitter: float
    retry_after_max_s: float
    defer_s: float
    policy: Policy


@dataclass(slots=True)
class DispatchStats:
    """Counters of one worker. `states` counts what deliveries became, by state letter."""

    results: Counter[str] = field(default_factory=Counter[str])  # "ok" or the class of error
    time: Histogram = field(default_factory=Histogram)
    push_time: Histogram = field(default_factory=push_times)  # from acceptance, in seconds
    lateness: Histogram = field(default_factory=Histogram)  # of retries: from due to sent
    deferred: Counter[str] = field(default_factory=Counter[str])  # by what kept them
    states: Counter[str] = field(default_factory=Counter[str])
    notices: Counter[str] = field(default_factory=Counter[str])


class Dispatch:
    """The sending half of a worker."""

    def __init__(
        self,
        client: Client,
        lanes: Lanes[Item],
        rules: DispatchRules,
        stats: DispatchStats,
        traces: AttemptTraces | None = None,
    ) -> None:
        self._client = client
        self._lanes = lanes
        self._rules = rules
        self._stats = stats
        self._traces = traces
        self._outage = Outage()
        self._bodies = MadeBodies()
        self._cancelled: OrderedDict[str, None] = OrderedDict()
        self._to_start: deque[Item] = deque()
        self._is_starting = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0

    def body_of(self, post: Post, event: Event) -> WebhookBody:
        """What is sent of an event; made once for all its recipients."""
        return self._bodies.of(post, event)

    # Taking deliveries in

    def offer(self, item: Item) -> None:
        """Starts a delivery, queues it, or settles it without an attempt."""
        target = item.target
        assert target is not None
        health, permit = target.health, _SEND
        if health.state is not _ACTIVE or health.paused_until_ms:
            permit = may_send(health, steady_ms())
        if permit is _PARK:
            self._park(item)
        elif permit is _WAIT:
            self._defer(item, max(health.paused_until_ms, steady_ms()), "paused")
        else:
            self._enter(item, target)

    def _enter(self, item: Item, target: Target) -> None:
        lanes = self._lanes
        answer = lanes.offer(item, target.id, target.host, monotonic(), target.rate_per_s)
        if answer is _START:
            self._start_all((item,))
        elif answer is _OVERFLOW:
            self._defer(item, steady_ms(), "no_room")
        elif lanes.is_timed:
            self._arm()
        if lanes.has_overflowed:
            self._put_back(lanes.take_overflowed())

    def cancel_post(self, post: str) -> None:
        """The post is deleted: nothing that waits here still tells of it, but for the deletion."""
        self._cancelled[post] = None
        self._cancelled.move_to_end(post)
        if len(self._cancelled) > CANCELLED_POSTS_MAX:
            self._cancelled.popitem(last=False)

    def put_off(self, item: Item, reason: str) -> None:
        """Back on the schedule, because its endpoint cannot be sent to as things are set up."""
        self._defer(item, steady_ms() + round(UNUSABLE_S * 1000), reason)

    def settle(self, item: Item, state: State, error: str) -> None:
        """Ends a delivery without an attempt."""
        self._record(item, state, item.attempts, steady_ms(), error=error)

    def drop(self, endpoint: str) -> list[Item]:
        """Takes what waits for an endpoint out of its lane."""
        return self._lanes.drop(endpoint, monotonic())

    def take_back(self, endpoints: Iterable[str]) -> None:
        """Forgets what waits for these endpoints: their shard is given up, the next owner's."""
        for endpoint in endpoints:
            for item in self._lanes.drop(endpoint, monotonic()):
                item.owner.forget(item)

    def waiting(self) -> list[str]:
        return self._lanes.waiting()

    # Sending

    def _start_all(self, items: Iterable[Item]) -> None:
        """Starting one may end it at once and free the next: a loop, where recursion would grow."""
        self._to_start.extend(items)
        if self._is_starting:
            return
        self._is_starting = True
        try:
            while self._to_start:
                self._start(self._to_start.popleft())
        finally:
            self._is_starting = False

    def _start(self, item: Item) -> None:
        """Sends one attempt; its lane has counted it as under way already."""
        target = item.target
        assert target is not None
        at_ms = steady_ms()
        if not item.owner.may_begin(at_ms):
            self._give_back(item)
            item.owner.forget(item)
            return
        if target.is_gone:
            self._give_back(item)
            self.settle(item, State.SUPPRESSED, "no_endpoint")
            return
        if self._cancelled and item.event.post in self._cancelled and not item.is_deletion:
            self._give_back(item)
            self.settle(item, State.CANCELLED, "deleted")
            return
        if at_ms < self._outage.until_ms:
            self._give_back(item)
            self._defer(item, self._outage.until_ms, "proxy")
            return
        health = target.health
        if health.state is not _ACTIVE or at_ms < health.paused_until_ms:
            permit = may_send(health, at_ms)
            if permit is not Permit.PROBE:
                # Things have changed while it waited.
                self._give_back(item)
                if permit is _PARK:
                    self._park(item)
                else:
                    self._defer(item, health.paused_until_ms, "paused")
                return
            target.health = on_probe(health, at_ms, self._rules.policy)
            item.owner.note_health(target, changed_fields(health, target.health))
        body = item.body
        assert body is not None
        item.started_ms = wall_ms = now_ms()
        payload = (
            body.as_query(item.user, item.offset)
            if target.takes_query
            else body.for_recipient(item.user, item.offset)
        )
        url, head, payload = target.request(
            item.event.kind, item.id.encode(), item.attempts + 1, payload, wall_ms
        )
        if 0 < item.due_ms <= wall_ms:
            self._stats.lateness.observe((wall_ms - item.due_ms) / 1000)
        if self._traces is not None and item.entry.traceparent is not None:
            head = self._traces.begin(item, target, head)
        self._client.send(url, head, payload, partial(self._done, item))

    def _give_back(self, item: Item) -> None:
        """It is not sent after all."""
        self._go_on(self._lanes.unsent(item.endpoint, monotonic()))

    def _release(self, item: Item, outcome: Outcome) -> None:
        took_s, failure = outcome.duration_ms / 1000, outcome.failure
        is_answered = failure is not _TIMEOUT and failure is not _TUNNEL
        self._go_on(self._lanes.done(item.endpoint, monotonic(), took_s, is_answered))

    def _go_on(self, freed: Sequence[Item]) -> None:
        self._start_all(freed)
        if self._lanes.has_overflowed:
            self._put_back(self._lanes.take_overflowed())
        if self._lanes.is_timed:
            self._arm()

    def _done(self, item: Item, outcome: Outcome) -> None:
        if self._traces is not None and item.entry.traceparent is not None:
            self._traces.end(item, outcome)
        self._stats.results[outcome.error or "ok"] += 1
        self._stats.time.observe(outcome.duration_ms / 1000)
        if outcome.retry_after is not None:
            seconds = without_date(outcome.retry_after, now_ms() / 1000)
            outcome = replace(outcome, retry_after=seconds)
        if outcome.excerpt and item.target is not None and item.target.header_secrets:
            shown = without_secrets(outcome.excerpt, item.target.header_secrets)
            outcome = replace(outcome, excerpt=shown)
        at_ms = steady_ms()
        if outcome.failure is _PROXY:
            self._outage.begin(at_ms, outcome.excerpt)
            self._wait_out(item, outcome, at_ms)
        else:
            if self._outage.until_ms and (outcome.status or outcome.failure is _TUNNEL):
                self._outage.end()
            self._judge(item, outcome, at_ms)
        self._release(item, outcome)

    def _wait_out(self, item: Item, outcome: Outcome, at_ms: int) -> None:
        """The egress proxy has an outage: that is no attempt, and says nothing of the endpoint."""
        self._stats.deferred["proxy"] += 1
        entry = encode_attempt(item.id, item.attempts + 1, item.started_ms, outcome)
        due_ms = self._deferred_until(self._outage.until_ms)
        self._record(
            item,
            State.RETRYING if item.attempts else State.PENDING,
            item.attempts,
            at_ms,
            error=_PROXY,
            due_ms=due_ms,
            log_entry=entry,
        )
        tell_failure(item, outcome, due_ms - at_ms)

    def _judge(self, item: Item, outcome: Outcome, at_ms: int) -> None:
        """What becomes of the delivery, and of its endpoint."""
        target = item.target
        assert target is not None
        before = target.health
        target.health, notices = on_outcome(before, outcome, at_ms, self._rules.policy)
        entry = encode_attempt(item.id, item.attempts + 1, item.started_ms, outcome)
        if outcome.ok:
            self._count_push(item, outcome)
            tell_success(item, outcome)
            self._record(
                item, _DELIVERED, item.attempts + 1, at_ms, status=outcome.status, log_entry=entry
            )
        else:
            self._judge_failure(item, outcome, at_ms, entry)
        if target.health is not before:
            item.owner.note_health(target, changed_fields(before, target.health))
        for notice in notices:
            self._act_on(notice, target.id, target.health, item.owner)

    def _count_push(self, item: Item, outcome: Outcome) -> None:
        """How long it took from the acceptance; of one that was replayed that says nothing."""
        body = item.body
        if body is not None and body.accepted_ms and not item.base:
            pushed_ms = item.started_ms + outcome.duration_ms
            self._stats.push_time.observe(max(pushed_ms - body.accepted_ms, 0.0) / 1000)

    def _judge_failure(self, item: Item, outcome: Outcome, at_ms: int, entry: bytes) -> None:
        target, rules = item.target, self._rules
        assert target is not None
        attempts = item.attempts + spends_attempt(outcome)
        error = outcome.error or ""
        schedule = target.retry_schedule_s
        if schedule is None:
            schedule = rules.retry_schedule_s
        delay_s = next_delay_s(schedule, attempts - item.base, random.random(), rules.retry_jitter)
        due_ms = retry_at_ms(delay_s, outcome.retry_after, at_ms, rules.retry_after_max_s)
        if outcome.is_gone or due_ms is None:
            tell_failure(item, outcome, None)
            self._record(
                item,
                State.DEAD,
                attempts,
                at_ms,
                status=outcome.status,
                error=error,
                log_entry=entry,
            )
            return
        due_ms = max(due_ms, target.health.paused_until_ms)
        tell_failure(item, outcome, due_ms - at_ms)
        self._record(
            item,
            State.RETRYING if attempts else State.PENDING,
            attempts,
            at_ms,
            status=outcome.status,
            error=error,
            due_ms=due_ms,
            log_entry=entry,
        )

    # What is not sent now

    def _park(self, item: Item) -> None:
        self._stats.deferred["parked"] += 1
        state = State.PARKED_RETRYING if item.attempts else State.PARKED_PENDING
        target = item.target
        assert target is not None
        why = "unverified" if target.health.state is _UNVERIFIED else "parked"
        error = item.error or why
        self._record(item, state, item.attempts, steady_ms(), status=item.status, error=error)
        if target.health.open_until_ms is not None:
            item.owner.look_after(target.id, target.health.open_until_ms)

    def _defer(self, item: Item, from_ms: int, reason: str) -> None:
        """Back on the schedule, without an attempt spent."""
        self._stats.deferred[reason] += 1
        state = State.RETRYING if item.attempts else State.PENDING
        self._record(
            item,
            state,
            item.attempts,
            steady_ms(),
            status=item.status,
            error=item.error or reason,
            due_ms=self._deferred_until(from_ms),
        )

    def _deferred_until(self, from_ms: int) -> int:
        return round(from_ms + self._rules.defer_s * 1000 * random.uniform(1.0, 1.5))

    def _put_back(self, items: Iterable[Item]) -> None:
        at_ms = steady_ms()
        for item in items:
            self._defer(item, at_ms, "no_room")

    def _record(
        self,
        item: Item,
        state: State,
        attempts: int,
        at_ms: int,
        *,
        status: int = 0,
        error: str = "",
        due_ms: int = 0,
        log_entry: bytes = b"",
    ) -> None:
        self._stats.states[state] += 1
        item.owner.record(
            item,
            state,
            attempts,
            at_ms,
            status=status,
            error=error,
            due_ms=due_ms,
            log_entry=log_entry,
        )

    def _act_on(self, notice: Notice, endpoint: str, health: Health, owner: Any) -> None:
        self._stats.notices[notice.value] += 1
        log.info("endpoint %s", notice.value, extra={"endpoint": endpoint})
        match notice:
            case Notice.OPENED | Notice.DISABLED:
                if health.open_until_ms is not None:
                    owner.look_after(endpoint, health.open_until_ms)
                for item in self._lanes.drop(endpoint, monotonic()):
                    self._park(item)
            case Notice.PAUSED:
                for item in self._lanes.drop(endpoint, monotonic()):
                    self._defer(item, health.paused_until_ms, "paused")
            case Notice.CLOSED | Notice.ENABLED:
                owner.look_after(endpoint, steady_ms())

    # The clock of rate-limited lanes

    def _arm(self) -> None:
        at_s = self._lanes.next_wake()
        if at_s is None:
            return
        if self._timer is not None:
            if self._timer_s <= at_s:
                return
            self._timer.cancel()
        self._timer_s = at_s
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(at_s - monotonic(), 0), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._start_all(self._lanes.ready(monotonic()))
        if self._lanes.has_overflowed:
            self._put_back(self._lanes.take_overflowed())
        self._arm()

    async def close(self, grace_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._client.close(grace_s)
