"""The health of an endpoint, through the whole service: breaker, pauses, disabling, coming back."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from app.clock import now_ms
from app.receiver import Behaviour
from app.store import dead_letters, retries
from app.store.client import Store
from app.wire import rfc3339
from tests.clock import SettableClock
from tests.flows.service import Service, serve
from tests.receivers import Receiver, gated, status
from tests.wait import wait_until
from workers import upkeep

DAY_S = 86_400.0
HOUR_S = 3_600.0
SETTINGS = {
    "retry_schedule_s": "0.05,0.05",
    "breaker_failures": 3,
    "drain_gap_ms": 1,
    "defer_s": 0.05,
}


@dataclass
class Hook:
    """Bob's endpoint, of whose friend alice everything comes."""

    service: Service
    receiver: Receiver
    id: str

    async def health(self) -> Any:
        return await self.service.call("GET", f"/endpoints/{self.id}")

    async def until(self, state: str) -> Any:
        async def there() -> Any:
            found = await self.health()
            return found if found["state"] == state else None

        return await wait_until(there)

    async def post(self, count: int) -> list[str]:
        made = (self.service.post("alice", data={"n": n}) for n in range(count))
        return [post["id"] for post in await asyncio.gather(*made)]

    async def settled(self, posts: list[str], state: str) -> list[Any]:
        return [await self.service.settled(post, "bob", state) for post in posts]

    async def parked(self, posts: list[str]) -> list[Any]:
        """The deliveries of these posts, once all of them wait for the endpoint."""

        async def there() -> Any:
            found = [await self.service.delivery(post, "bob", "webhook") for post in posts]
            return (
                found if all(one and one.get("last_error") == "parked" for one in found) else None
            )

        return await wait_until(there)

    async def nudge(self) -> None:
        """Has the sender look at its clock, which it cannot know that we have set."""
        await self.service.call("PATCH", f"/endpoints/{self.id}", {"description": str(now_ms())})

    async def is_told(self) -> bool:
        """Bob has been told, once, that it is disabled."""
        feed = await self.service.call("GET", "/users/bob/feed?after=0")
        return [item["type"] for item in feed["items"]].count("endpoint.disabled") == 1

    async def open(self) -> None:
        """Fails often enough."""
        self.receiver.default = status(500)
        await self.settled(await self.post(1), "dead")
        await self.until("open")


@asynccontextmanager
async def hooked(store: Store, *script: Behaviour, **settings: object) -> AsyncIterator[Hook]:
    options = settings.pop("options", {})
    async with serve(store, **{**SETTINGS, **settings}) as service, Receiver(*script) as receiver:
        await service.befriend(("alice", "bob"))
        endpoint = await service.register("bob", receiver.url, **options)
        yield Hook(service, receiver, endpoint["id"])


# The breaker


async def test_failures_in_a_row_open_the_breaker_and_what_comes_then_waits_at_no_cost(
    single_store: Store,
):
    async with hooked(single_store, status(500), status(500), status(200)) as hook:
        await hook.settled(await hook.post(1), "delivered")
        found = await hook.health()
        assert (found["state"], found["consecutive_failures"]) == ("active", 0)
        await hook.open()
        made = len(hook.receiver.requests)
        parked = await hook.parked(await hook.post(4))
        assert [one["attempts"] for one in parked] == [0] * 4
        assert len(hook.receiver.requests) == made
        found = await hook.health()
        assert found["consecutive_failures"] == 3
        opened_s = seconds(found["open_until"]) - now_ms() / 1000
        assert 50 < opened_s <= 60


async def test_one_probe_goes_at_its_time_and_a_failed_one_costs_the_others_nothing(
    single_store: Store, clock: SettableClock
):
    async with hooked(single_store, retry_schedule_s="600") as hook:
        hook.receiver.default = status(500)
        posts = await hook.post(3)
        await hook.until("open")
        waiting = await hook.post(3)
        await hook.parked(waiting)
        made = len(hook.receiver.requests)
        clock.let_pass(59)
        await hook.nudge()
        assert len(hook.receiver.requests) == made
        gate = asyncio.Event()
        hook.receiver.default = gated(gate, status(500))
        clock.let_pass(2)
        await hook.nudge()
        await wait_until(lambda: len(hook.receiver.requests) == made + 1)
        await hook.nudge()
        await hook.parked(await hook.post(1))  # it has looked at everything meanwhile
        assert len(hook.receiver.requests) == made + 1
        gate.set()
        probe = hook.receiver.requests[-1].id

        async def has_failed() -> bool:
            return (await hook.service.call("GET", f"/deliveries/{probe}"))["attempts"] == 1

        await wait_until(has_failed)
        rest = [post for post in waiting if not probe.startswith(post)]
        assert [one["attempts"] for one in await hook.parked(rest)] == [0, 0]
        found = await hook.health()
        assert found["state"] == "open"
        assert seconds(found["open_until"]) > now_ms() / 1000 + 50
        assert len(posts) == 3


async def test_a_probe_that_is_accepted_closes_the_breaker_and_what_waited_is_sent_in_paces(
    single_store: Store, clock: SettableClock
):
    async with hooked(single_store, drain_gap_ms=30) as hook:
        await hook.open()
        waiting = await hook.post(12)
        await hook.parked(waiting)
        made = len(hook.receiver.requests)
        hook.receiver.default = status(200)
        began = time.monotonic()
        clock.let_pass(61)
        await hook.nudge()
        delivered = await hook.settled(waiting, "delivered")
        assert time.monotonic() - began > 10 * 0.03
        assert {one["attempts"] for one in delivered} == {1}
        requests = hook.receiver.requests[made:]
        assert len(requests) == 12
        assert (await hook.health())["state"] == "active"


async def test_a_failed_delivery_keeps_its_attempts_while_it_waits(
    single_store: Store, clock: SettableClock
):
    """The third failure opens the breaker; the retries of all three are parked, not spent."""
    async with hooked(single_store) as hook:
        hook.receiver.default = gated(gate := asyncio.Event(), status(500))
        posts = await hook.post(3)
        await wait_until(lambda: len(hook.receiver.requests) == 3)
        gate.set()
        await hook.until("open")

        async def wait_parked() -> Any:
            found = [await hook.service.delivery(post, "bob", "webhook") for post in posts]
            return found if all(one["state"] == "retrying" for one in found) else None

        await wait_until(wait_parked)
        hook.receiver.default = status(200)
        clock.let_pass(61)
        await hook.nudge()
        delivered = await hook.settled(posts, "delivered")
        assert [one["attempts"] for one in delivered] == [2] * 3


# Slowing down


@pytest.mark.parametrize("code", [429, 502, 503, 504])
async def test_who_asks_for_less_is_sent_nothing_for_a_while_and_only_errors_cost_attempts(
    single_store: Store, code: int
):
    slow = status(code, retry_after="1")
    async with hooked(single_store, slow, endpoint_in_flight_max=1) as hook:
        posts = await hook.post(1)
        await wait_until(lambda: hook.receiver.requests)
        asked_at = time.monotonic()
        posts += await hook.post(3)
        first, *others = await hook.settled(posts, "delivered")
        assert time.monotonic() - asked_at > 0.9
        assert first["attempts"] == (1 if code == 429 else 2)
        assert [one["attempts"] for one in others] == [1] * 3
        at_ms = [one.at_ms for one in hook.receiver.requests]
        assert len(at_ms) == 5
        assert at_ms[1] - at_ms[0] > 900


@pytest.mark.parametrize(("asked", "least_s", "most_s"), [("20", 20, 22), ("9999", 30, 32)])
async def test_retry_after_is_a_floor_and_has_a_cap(
    single_store: Store, asked: str, least_s: float, most_s: float
):
    slow = status(503, retry_after=asked)
    async with hooked(single_store, slow, retry_after_max_s=30, pause_max_s=60) as hook:
        (post,) = await hook.post(1)
        found = await hook.service.settled(post, "bob", "retrying")
        wait_s = seconds(found["next_attempt_at"]) - hook.receiver.requests[0].at_ms / 1000
        assert least_s - 0.5 <= wait_s <= most_s


async def test_a_rate_and_a_full_queue_put_off_without_spending_attempts(single_store: Store):
    limits = {"endpoint_queue_max": 1, "endpoint_in_flight_max": 1}
    async with hooked(single_store, options={"rate_per_s": 40}, **limits) as hook:
        posts = await hook.post(12)
        delivered = await hook.settled(posts, "delivered")
        assert [one["attempts"] for one in delivered] == [1] * 12
        assert {one.attempt for one in hook.receiver.requests} == {"1"}


# Disabling


async def fail_once_a_day(hook: Hook, clock: SettableClock, days: int) -> None:
    """A probe a day fails."""
    for _ in range(days):
        made = len(hook.receiver.requests)
        clock.let_pass(DAY_S)
        await hook.nudge()
        await wait_until(lambda made=made: len(hook.receiver.requests) > made)


async def test_five_days_of_failing_disable_it_its_owner_is_told_and_a_probe_an_hour_goes_on(
    single_store: Store, clock: SettableClock
):
    async with hooked(single_store) as hook:
        await hook.open()
        waiting = await hook.post(8)
        await hook.parked(waiting)
        await fail_once_a_day(hook, clock, 4)
        assert (await hook.health())["state"] == "open"
        await fail_once_a_day(hook, clock, 1)
        found = await hook.until("disabled")
        assert found["disabled_reason"] == "failing"
        await wait_until(hook.is_told)

        late = await hook.post(2)
        await hook.parked(late)
        made = len(hook.receiver.requests)
        clock.let_pass(HOUR_S - 60)
        await hook.nudge()
        await hook.parked(await hook.post(1))
        assert len(hook.receiver.requests) == made
        hook.receiver.default = status(200)
        clock.let_pass(120)
        await hook.nudge()
        await hook.until("active")
        alive = [p for p in waiting + late if await state_of(hook, p) != "dead"]
        await hook.settled(alive, "delivered")
        assert set(late) <= set(alive)


async def test_failing_on_two_days_only_or_for_less_than_the_span_disables_nothing(
    single_store: Store, clock: SettableClock
):
    async with hooked(single_store, disable_after_s=DAY_S / 2) as hook:
        await hook.open()
        await hook.parked(await hook.post(3))
        await fail_once_a_day(hook, clock, 1)
        assert (await hook.health())["state"] == "open"  # long enough, but on two days
        await fail_once_a_day(hook, clock, 1)
        assert (await hook.until("disabled"))["disabled_reason"] == "failing"


async def state_of(hook: Hook, post: str) -> str:
    return (await hook.service.delivery(post, "bob", "webhook"))["state"]


# Coming back by call


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of what is moved, drained and looked at in one go otherwise."""
    monkeypatch.setattr(retries, "MOVE_MAX", 50)
    monkeypatch.setattr(upkeep, "DRAIN_MAX", 25)
    monkeypatch.setattr(dead_letters, "READ_MAX", 50)


@pytest.mark.usefixtures("small_parts")
async def test_what_came_for_a_disabled_endpoint_is_sent_when_it_is_enabled_however_much(
    single_store: Store,
):
    async with hooked(single_store, status(410)) as hook:
        await hook.settled(await hook.post(1), "dead")
        await hook.until("disabled")
        count = 62  # more than is moved, and than is drained, in one go
        await hook.post(count)
        await wait_until(lambda: in_state(single_store, "parked:", count), 20)
        await hook.service.call("POST", f"/endpoints/{hook.id}:enable")
        await wait_until(lambda: len(hook.receiver.requests) == count + 1, 20)
        assert len({one.id for one in hook.receiver.requests}) == count + 1


@pytest.mark.usefixtures("small_parts")
async def test_recover_brings_back_what_was_parked_and_what_died_since_a_time_however_much(
    single_store: Store, clock: SettableClock
):
    async with hooked(single_store, status(410), drain_gap_ms=0) as hook:
        old = await hook.post(1)
        await hook.settled(old, "dead")
        await hook.until("disabled")
        clock.let_pass(HOUR_S)
        since = rfc3339(now_ms())
        count = 52
        await hook.post(count)
        await wait_until(lambda: in_state(single_store, "parked:", count), 20)
        await hook.service.call("POST", f"/endpoints/{hook.id}:enable")
        answer = await hook.service.call("POST", f"/endpoints/{hook.id}:recover", {"since": since})
        assert answer["scheduled"] <= count
        await wait_until(lambda: len(hook.receiver.requests) == count + 1, 20)
        assert await state_of(hook, old[0]) == "dead"  # it is from before that time
        again = await hook.service.call(
            "POST", f"/endpoints/{hook.id}:recover", {"since": "2020-01-01T00:00:00Z"}
        )
        assert again == {"scheduled": 1}
        await hook.settled(old, "delivered")


async def in_state(store: Store, prefix: str, count: int) -> bool:
    """So many deliveries lie in the sets whose keys begin like this."""
    found = 0
    for key in await store.execute("KEYS", f"{prefix}*"):
        found += await store.execute("ZCARD", key)
    return found == count


@pytest.mark.usefixtures("small_parts")
async def test_dead_letters_can_be_paged_through_and_all_be_replayed(single_store: Store):
    async with hooked(single_store, options={"retry_schedule_s": []}, breaker_failures=999) as hook:
        hook.receiver.default = status(500)
        count = 53
        await hook.post(count)
        await wait_until(lambda: in_state(single_store, "dead:", count), 20)
        seen, after = set(), ""
        while after is not None:
            page = await hook.service.call("GET", f"/dead-letters?limit=20{after}")
            seen |= {item["id"] for item in page["items"]}
            after = f"&after={page['next']}" if page["next"] else None
        assert len(seen) == count
        hook.receiver.default = status(200)
        made = len(hook.receiver.requests)
        answer = await hook.service.call("POST", "/dead-letters:replay", {"endpoint": hook.id})
        assert answer == {"scheduled": count}
        await wait_until(lambda: len(hook.receiver.requests) == made + count, 20)
        assert {one.id for one in hook.receiver.requests[made:]} == seen


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
