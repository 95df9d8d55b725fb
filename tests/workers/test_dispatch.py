"""What becomes of deliveries and endpoints with each answer. All is real but the owner."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from app.clock import now_ms, steady_ms
from app.domain.breaker import EndpointState, Health, Policy
from app.domain.delivery import State
from app.domain.post import Event, EventKind, Post
from app.guard import Guard
from tests.receivers import Receiver, gated, hang, refusing_port, status
from tests.wait import wait_until
from tests.workers.test_target import endpoint as endpoint_of
from workers.delivery import Entry, Item
from workers.dispatch import Dispatch, DispatchRules, DispatchStats
from workers.http.client import Client
from workers.http.limits import Limits as HttpLimits
from workers.lanes import Lanes, Limits
from workers.made_bodies import KEPT_BYTES_MAX, kind_of
from workers.target import Target

POST = Post("0" * 18, "ann", "post", 1, 1_000, 1_000, b'{"text":"hello"}')
CREATED = Event(POST.id, 1, EventKind.CREATED)


PLAIN, UNLIMITED = Policy(), Limits()


class Owner:
    """Takes down what it is told, as a sender's shard does."""

    def __init__(self) -> None:
        self.has_ended = False
        self.until_ms = steady_ms() + 3_600_000
        self.records: list[dict[str, Any]] = []
        self.forgotten: list[Item] = []
        self.to_look_after: list[tuple[str, int]] = []
        self.health: dict[str, Any] = {}

    def record(self, item: Item, state: State, attempts: int, at_ms: int, **more: Any) -> None:
        self.records.append({"item": item, "state": state, "attempts": attempts, **more})

    def may_begin(self, at_ms: int) -> bool:
        return not self.has_ended and at_ms < self.until_ms

    def forget(self, item: Item) -> None:
        self.forgotten.append(item)

    def look_after(self, endpoint: str, at_ms: int) -> None:
        self.to_look_after.append((endpoint, at_ms))

    def note_health(self, target: Target, fields: dict[str, Any]) -> None:
        self.health.update(fields)

    @property
    def states(self) -> list[str]:
        return [record["state"].name.lower() for record in self.records]

    async def wait(self, count: int) -> list[dict[str, Any]]:
        await wait_until(lambda: len(self.records) >= count)
        return self.records


class Bench:
    """A dispatch with one endpoint."""

    def __init__(
        self, url: str, policy: Policy, limits: Limits, deadline_s: float, **endpoint: Any
    ) -> None:
        self.owner = Owner()
        self.stats = DispatchStats()
        guard = Guard(allow=[ip_network("127.0.0.0/8")])
        self.client = Client(guard, limits=HttpLimits(deadline_s=deadline_s))
        self.lanes: Lanes[Item] = Lanes(limits)
        rules = DispatchRules(
            retry_schedule_s=(5.0, 30.0),
            retry_jitter=0.0,
            retry_after_max_s=100.0,
            defer_s=1.0,
            policy=policy,
        )
        self.dispatch = Dispatch(self.client, self.lanes, rules, self.stats)
        self.target = Target(endpoint_of(url=url, **endpoint), now_ms(), ())
        self.made = 0

    def item(self, event: Event = CREATED, post: Post = POST, **already: int) -> Item:
        self.made += 1
        item = Item(
            self.owner,  # type: ignore[arg-type]
            Entry(b"1-0", False),
            event,
            0,
            self.target.id,
            f"user{self.made}",
            self.made,
        )
        item.attempts, item.base = already.get("attempts", 0), already.get("base", 0)
        item.target = self.target
        item.body = self.dispatch.body_of(post, event)
        return item

    def send(self, count: int = 1, **already: Any) -> None:
        for _ in range(count):
            self.dispatch.offer(self.item(**already))

    async def outcome(self, **already: Any) -> dict[str, Any]:
        before = len(self.owner.records)
        self.send(**already)
        return (await self.owner.wait(before + 1))[before]


@asynccontextmanager
async def bench(
    url: str,
    policy: Policy = PLAIN,
    limits: Limits = UNLIMITED,
    deadline_s: float = 15.0,
    **endpoint: Any,
) -> AsyncIterator[Bench]:
    made = Bench(url, policy, limits, deadline_s, **endpoint)
    try:
        yield made
    finally:
        await made.dispatch.close(grace_s=0)


# One attempt


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
async def test_only_2xx_is_delivered(receiver: Receiver, code: int):
    receiver.default = status(code)
    async with bench(receiver.url) as work:
        record = await work.outcome(attempts=1)
        assert (record["state"], record["attempts"]) == (State.DELIVERED, 2)
        assert record["status"] == code
    assert work.stats.results == {"ok": 1}


@pytest.mark.parametrize(
    ("code", "error"), [(302, "http_3xx"), (404, "http_4xx"), (500, "http_5xx")]
)
async def test_anything_else_is_tried_again_after_the_step_of_its_schedule(
    receiver: Receiver, code: int, error: str
):
    receiver.default = status(code)
    async with bench(receiver.url) as work:
        at_ms = now_ms()
        first, second = await work.outcome(), await work.outcome(attempts=1)
    for record, attempts, delay_ms in ((first, 1, 5_000), (second, 2, 30_000)):
        assert (record["state"], record["attempts"]) == (State.RETRYING, attempts)
        assert record["error"] == error
        assert 0 <= record["due_ms"] - at_ms - delay_ms < 1_000


async def test_the_attempt_after_the_last_step_ends_in_a_dead_letter(receiver: Receiver):
    receiver.default = status(500)
    async with bench(receiver.url) as work:
        record = await work.outcome(attempts=2)
        assert (record["state"], record["attempts"]) == (State.DEAD, 3)
        again = await work.outcome(attempts=3, base=3)
        assert (again["state"], again["attempts"]) == (State.RETRYING, 4)


async def test_an_endpoint_may_have_a_schedule_of_its_own_even_an_empty_one(receiver: Receiver):
    receiver.default = status(500)
    async with bench(receiver.url, retry_schedule_s=()) as work:
        assert (await work.outcome())["state"] is State.DEAD


async def test_nobody_listening_is_a_failure_like_any_other():
    with refusing_port() as port:
        async with bench(f"http://127.0.0.1:{port}/") as work:
            record = await work.outcome()
    assert (record["state"], record["error"], record["status"]) == (State.RETRYING, "connect", 0)
    assert record["log_entry"]


async def test_a_retry_after_is_a_floor_and_has_a_cap(receiver: Receiver):
    receiver.script.extend([status(500, retry_after="60"), status(500, retry_after="9999")])
    async with bench(receiver.url) as work:
        at_ms = now_ms()
        first, second = await work.outcome(), await work.outcome()
    assert 0 <= first["due_ms"] - at_ms - 60_000 < 1_000
    assert 0 <= second["due_ms"] - at_ms - 100_000 < 1_000


async def test_how_late_a_retry_was_is_counted_but_not_what_had_no_time(receiver: Receiver):
    async with bench(receiver.url) as work:
        late, early = work.item(), work.item()
        late.due_ms, early.due_ms = now_ms() - 40, now_ms() + 10_000
        for item in (late, early, work.item()):
            work.dispatch.offer(item)
        await work.owner.wait(3)
    assert sum(work.stats.lateness.counts) == 1
    assert 0.04 <= work.stats.lateness.sum < 0.2


async def test_the_time_from_acceptance_is_counted_at_success_but_not_of_a_replay(
    receiver: Receiver,
):
    receiver.script.append(status(500))
    async with bench(receiver.url) as work:
        post = replace(POST, created_at_ms=now_ms() - 2_000)
        await work.outcome(post=post)
        assert sum(work.stats.push_time.counts) == 0
        await work.outcome(post=post, attempts=1)
        await work.outcome(post=post, attempts=3, base=3)
    assert sum(work.stats.push_time.counts) == 1
    assert 2 <= work.stats.push_time.sum < 12


# What the endpoint says about itself


async def test_410_disables_the_endpoint_and_what_waits_for_it_is_parked(receiver: Receiver):
    receiver.default = status(410)
    async with bench(receiver.url, limits=Limits(endpoint_in_flight_max=1)) as work:
        work.send(3)
        await work.owner.wait(3)
        assert work.owner.states == ["dead", "parked_pending", "parked_pending"]
        assert work.owner.health["state"] == "disabled"
        assert work.owner.health["disabled_reason"] == "gone"
        assert work.owner.to_look_after == []  # only a call brings it back
        work.send(attempts=1)
        assert work.owner.states[3:] == ["parked_retrying"]
    assert len(receiver.requests) == 1
    assert work.stats.notices == {"disabled": 1}


async def test_429_spends_no_attempt_and_puts_everything_else_off(receiver: Receiver):
    receiver.default = status(429, retry_after="7")
    async with bench(receiver.url, limits=Limits(endpoint_in_flight_max=1)) as work:
        at_ms = now_ms()
        work.send(2)
        work.send(attempts=1)
        records = await work.owner.wait(3)
        assert [record["attempts"] for record in records] == [0, 0, 1]
        assert work.owner.states == ["pending", "pending", "retrying"]
        assert all(record["due_ms"] >= at_ms + 7_000 for record in records)
        work.send()
        assert work.owner.records[3]["due_ms"] >= at_ms + 7_000
    assert len(receiver.requests) == 1
    assert work.stats.deferred == {"paused": 3}


@pytest.mark.parametrize("code", [502, 503, 504])
async def test_502_503_and_504_slow_the_endpoint_and_spend_the_attempt(
    receiver: Receiver, code: int
):
    receiver.default = status(code)
    async with bench(receiver.url, limits=Limits(endpoint_in_flight_max=1)) as work:
        work.send(2)
        records = await work.owner.wait(2)
    assert [record["attempts"] for record in records] == [1, 0]
    assert work.stats.notices == {"paused": 1}
    assert len(receiver.requests) == 1


async def test_failures_in_a_row_open_the_breaker_and_what_waits_is_parked_at_no_cost(
    receiver: Receiver,
):
    receiver.default = status(500)
    limits = Limits(endpoint_in_flight_max=1)
    async with bench(receiver.url, Policy(breaker_failures=3), limits) as work:
        at_ms = now_ms()
        work.send(5)
        records = await work.owner.wait(5)
        assert Counter(work.owner.states) == {"retrying": 3, "parked_pending": 2}
        assert {r["attempts"] for r in records if r["state"].is_parked} == {0}
        assert work.owner.health["state"] == "open"
        assert all(at >= at_ms + 60_000 for _, at in work.owner.to_look_after)
        assert len(work.owner.to_look_after) == 3  # the breaker's own, and one with each parked
    assert work.stats.notices == {"opened": 1}


async def test_one_probe_at_a_time_goes_through_and_a_success_closes_the_breaker(
    receiver: Receiver,
):
    gate = asyncio.Event()
    receiver.default = gated(gate)
    async with bench(receiver.url) as work:
        work.target.health = Health(
            state=EndpointState.OPEN, consecutive_failures=10, open_until_ms=now_ms() - 1
        )
        work.send(3)
        assert work.owner.states == ["parked_pending", "parked_pending"]
        gate.set()
        records = await work.owner.wait(3)
        assert records[2]["state"] is State.DELIVERED
        assert work.target.health.state is EndpointState.ACTIVE
        assert work.owner.to_look_after[-1][1] <= now_ms()  # a drain, now
    assert len(receiver.requests) == 1
    assert work.stats.notices == {"closed": 1}


async def test_a_probe_that_fails_leaves_the_breaker_open_until_the_next(receiver: Receiver):
    receiver.default = status(500)
    async with bench(receiver.url) as work:
        work.target.health = Health(
            state=EndpointState.OPEN,
            consecutive_failures=10,
            first_failure_at_ms=now_ms() - 1_000,
            open_until_ms=now_ms() - 1,
        )
        record = await work.outcome(attempts=1)
        assert record["state"] is State.RETRYING
        assert work.target.health.state is EndpointState.OPEN
        assert work.owner.health["open_until"] >= now_ms() + 59_000
        work.send()
        assert work.owner.states[-1] == "parked_pending"


async def test_failing_for_days_disables_an_endpoint_and_a_probe_brings_it_back(
    receiver: Receiver,
):
    receiver.script.append(status(500))
    day_ms = 86_400_000
    async with bench(receiver.url) as work:
        work.target.health = Health(
            consecutive_failures=3,
            first_failure_at_ms=now_ms() - 6 * day_ms,
            failure_days=("2020-01-01", "2020-01-02"),
        )
        await work.outcome(attempts=1)
        assert work.owner.health["state"] == "disabled"
        assert work.owner.health["disabled_reason"] == "failing"
        work.target.health = Health(
            state=EndpointState.DISABLED, disabled_reason="failing", open_until_ms=now_ms() - 1
        )
        await work.outcome()
    assert work.stats.notices == {"disabled": 1, "enabled": 1}
    assert work.target.health.state is EndpointState.ACTIVE


# What waits


async def test_what_finds_no_place_goes_back_on_the_schedule_unspent(receiver: Receiver):
    gate = asyncio.Event()
    receiver.default = gated(gate)
    limits = Limits(endpoint_in_flight_max=1, endpoint_queue_max=2)
    async with bench(receiver.url, limits=limits) as work:
        at_ms = now_ms()
        work.send(2)
        work.send(3, attempts=1)
        assert work.owner.states == ["retrying", "retrying"]
        for record in work.owner.records:
            assert record["attempts"] == 1
            assert 1_000 <= record["due_ms"] - at_ms < 2_000
        gate.set()
        await work.owner.wait(5)
    assert len(receiver.requests) == 3
    assert work.stats.deferred == {"no_room": 2}
    assert work.lanes.reached.full == {"endpoint_queue_max": 2}


async def test_a_rate_is_kept_and_what_waits_for_it_is_sent_in_its_time(receiver: Receiver):
    async with bench(receiver.url, rate_per_s=20) as work:
        work.send(24)
        await work.owner.wait(20)
        assert len(work.owner.records) < 24
        await work.owner.wait(24)
    assert work.stats.results == {"ok": 24}
    assert work.lanes.reached.waits["rate_per_s"] >= 4


async def test_an_attempt_ends_at_its_deadline_and_counts_as_timed_out(receiver: Receiver):
    receiver.default = hang()
    async with bench(receiver.url, deadline_s=0.1) as work:
        record = await work.outcome()
    assert (record["state"], record["error"]) == (State.RETRYING, "timeout")
    assert work.stats.results == {"timeout": 1}


async def test_a_deleted_post_is_not_sent_any_more_but_its_deletion_is(receiver: Receiver):
    gate = asyncio.Event()
    receiver.script.append(gated(gate))
    async with bench(receiver.url, limits=Limits(endpoint_in_flight_max=1)) as work:
        work.send(3)
        work.dispatch.offer(work.item(Event(POST.id, 2, EventKind.DELETED)))
        work.dispatch.cancel_post(POST.id)
        gate.set()
        await work.owner.wait(4)
    assert Counter(work.owner.states) == {"delivered": 2, "cancelled": 2}
    kinds = [request.json()["type"] for request in receiver.requests]
    assert kinds == ["post.created", "post.deleted"]


async def test_what_waits_for_an_endpoint_that_is_gone_is_not_sent(receiver: Receiver):
    gate = asyncio.Event()
    receiver.default = gated(gate)
    async with bench(receiver.url, limits=Limits(endpoint_in_flight_max=1)) as work:
        work.send(3)
        work.target.is_gone = True
        gate.set()
        await work.owner.wait(3)
        work.send()  # read before it was gone, and begun after
        await work.owner.wait(4)
        assert len(work.lanes) == 0
    assert Counter(work.owner.states) == {"delivered": 1, "suppressed": 3}
    assert len(receiver.requests) == 1


async def test_what_waits_is_left_when_its_shard_is_given_up(receiver: Receiver):
    gate = asyncio.Event()
    receiver.default = gated(gate)
    async with bench(receiver.url, limits=Limits(endpoint_in_flight_max=1)) as work:
        work.send(3)
        work.owner.has_ended = True
        work.dispatch.take_back(work.dispatch.waiting())
        work.send()  # too late: it starts nothing
        work.dispatch.take_back(work.dispatch.waiting())
        gate.set()
        await work.owner.wait(1)
        assert work.owner.states == ["delivered"]
        assert len(work.owner.forgotten) == 3
        assert (work.lanes.in_flight, work.lanes.queued, len(work.lanes)) == (0, 0, 0)
    assert len(receiver.requests) == 1


async def test_nothing_more_is_begun_once_the_lease_has_run_out(receiver: Receiver):
    """Before anybody has said so: a process that goes on may hear answers before its timers."""
    gate = asyncio.Event()
    receiver.default = gated(gate)
    async with bench(receiver.url, limits=Limits(endpoint_in_flight_max=1)) as work:
        work.send(3)
        work.owner.until_ms = steady_ms()
        gate.set()
        await work.owner.wait(1)
        assert work.owner.states == ["delivered"]
        assert len(work.owner.forgotten) == 2
        assert (work.lanes.in_flight, work.lanes.queued, len(work.lanes)) == (0, 0, 0)
    assert len(receiver.requests) == 1


async def test_a_long_queue_of_what_fails_at_once_is_worked_off_without_recursion():
    """Each end of a request starts the next, which the guard refuses."""
    limits = Limits(endpoint_queue_max=20_000, endpoint_in_flight_max=1)
    policy = Policy(breaker_failures=1_000_000)
    async with bench("http://10.0.0.1:8000/", policy, limits) as work:
        work.send(2_000)
        await work.owner.wait(2_000)
    assert set(work.owner.states) == {"retrying"}
    assert work.stats.results == {"blocked": 2_000}


# Bodies


async def test_a_body_is_made_once_for_all_recipients_and_anew_for_a_newer_post(
    receiver: Receiver,
):
    async with bench(receiver.url) as work:
        made = work.dispatch.body_of(POST, CREATED)
        assert work.dispatch.body_of(POST, CREATED) is made
        newer = Post(POST.id, "ann", "post", 2, 1_000, 2_000, b'{"text":"better"}')
        assert work.dispatch.body_of(newer, CREATED) is not made
        assert b"better" in work.dispatch.body_of(newer, CREATED).tail


async def test_bodies_kept_take_no_more_memory_than_they_may(receiver: Receiver):
    async with bench(receiver.url) as work:
        for number in range(200):
            post = Post(f"{number:018}", "ann", "post", 1, 1, 1, b'"%b"' % (b"x" * 256 * 1024))
            work.dispatch.body_of(post, Event(post.id, 1, EventKind.CREATED))
        kept = work.dispatch._bodies._made.values()
        assert sum(len(body.tail) for _, body in kept) <= KEPT_BYTES_MAX
        assert len(kept) > 100


def test_what_a_version_was_is_read_off_the_newest_one():
    deleted = Post(POST.id, "ann", "post", 3, 1, 1, b"", deleted=True)
    kinds = [kind_of(deleted, version) for version in (1, 2, 3)]
    assert kinds == [EventKind.CREATED, EventKind.UPDATED, EventKind.DELETED]
