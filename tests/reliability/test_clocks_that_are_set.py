"""The wall clock is set by an hour, either way, in the middle of everything.

Nothing is lost or hurried by it, and nothing waits the hour: what was to wait a second does.
"""

import asyncio
import time

import pytest

from app.clock import now_ms
from app.store import keys
from app.store.client import Store
from tests.clock import SettableClock
from tests.flows.service import serve
from tests.receivers import Receiver, gated, status
from tests.reliability.test_endpoint_health import Hook, hooked
from tests.wait import wait_until

HOUR_S = 3_600.0
EITHER_WAY = pytest.mark.parametrize("by_s", [HOUR_S, -HOUR_S], ids=["forwards", "backwards"])
# What a busy machine may be late by. That something waits an hour, or nothing, is far from it.
SLACK_S = 4.0


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch):
    """Notes when requests come by a clock that nobody sets."""

    def note(hook: Hook) -> list[float]:
        seen: list[float] = []
        hook.receiver._on_request = lambda received: (
            hook.receiver.requests.append(received),
            seen.append(time.monotonic()),
        )
        return seen

    return note


@EITHER_WAY
async def test_a_retry_is_made_after_its_delay_no_sooner_and_no_later(
    single_store: Store, clock: SettableClock, watch, by_s: float
):
    async with hooked(single_store, status(500), retry_schedule_s="0.5") as hook:
        seen = watch(hook)
        (post,) = await hook.post(1)
        await hook.service.settled(post, "bob", "retrying")
        clock.set_by(by_s)
        await hook.nudge()
        found = await hook.service.settled(post, "bob", "delivered", timeout_s=0.5 + SLACK_S)
        assert found["attempts"] == 2
        assert 0.49 < seen[1] - seen[0] < 0.5 + SLACK_S
        # What is signed is the time it is.
        signed_s = int(hook.receiver.requests[1].headers["webhook-timestamp"])
        assert abs(signed_s - now_ms() / 1000) < SLACK_S + 1


@EITHER_WAY
async def test_what_fails_after_the_clock_was_set_is_tried_again_after_its_delay(
    single_store: Store, clock: SettableClock, watch, by_s: float
):
    gate = asyncio.Event()
    async with hooked(single_store, gated(gate, status(500)), retry_schedule_s="0.5") as hook:
        seen = watch(hook)
        (post,) = await hook.post(1)
        await wait_until(lambda: seen)
        clock.set_by(by_s)
        failed_s = time.monotonic()
        gate.set()
        retrying = await hook.service.settled(post, "bob", "retrying")
        await hook.service.settled(post, "bob", "delivered", timeout_s=0.5 + SLACK_S)
        assert 0.49 < seen[1] - failed_s < 0.5 + SLACK_S
        assert retrying["next_attempt_at"] is not None


@EITHER_WAY
async def test_a_breaker_stays_open_for_its_time(
    single_store: Store, clock: SettableClock, watch, by_s: float
):
    async with hooked(single_store, breaker_open_s=0.8, request_deadline_s=0.8) as hook:
        seen = watch(hook)
        await hook.open()
        opened_s = seen[-1]
        waiting = await hook.post(2)
        hook.receiver.default = status(200)
        clock.set_by(by_s)
        await hook.nudge()
        for post in waiting:
            await hook.service.settled(post, "bob", "delivered", timeout_s=0.8 + SLACK_S)
        assert 0.75 < seen[3] - opened_s < 0.8 + SLACK_S


@EITHER_WAY
async def test_a_pause_lasts_as_long_as_was_asked(
    single_store: Store, clock: SettableClock, watch, by_s: float
):
    slow = status(429, retry_after="1")
    async with hooked(single_store, slow, endpoint_in_flight_max=1) as hook:
        seen = watch(hook)
        posts = await hook.post(1)
        await wait_until(lambda: seen)
        await hook.service.settled(posts[0], "bob", "pending")
        clock.set_by(by_s)
        posts += await hook.post(2)
        for post in posts:
            await hook.service.settled(post, "bob", "delivered", timeout_s=1 + SLACK_S)
        assert 0.99 < seen[1] - seen[0] < 1 + SLACK_S
        assert len(seen) == 4


@EITHER_WAY
async def test_the_next_owner_keeps_to_the_schedule_though_its_clock_never_was_another(
    single_store: Store,
    clock: SettableClock,
    monkeypatch: pytest.MonkeyPatch,
    by_s: float,
):
    async with Receiver(status(500)) as receiver:
        async with serve(single_store, retry_schedule_s="1.2") as service:
            await service.befriend(("alice", "bob"))
            endpoint = await service.register("bob", receiver.url)
            post = await service.post("alice")
            await service.settled(post["id"], "bob", "retrying")
            failed_s = time.monotonic()
            clock.set_by(by_s)
            hook = Hook(service, receiver, endpoint["id"])
            await hook.nudge()
            await wait_until(lambda: has_noted(single_store, by_s))
        clock.restart(monkeypatch)
        async with serve(single_store, retry_schedule_s="1.2") as service:
            found = await service.settled(post["id"], "bob", "delivered", timeout_s=1.2 + SLACK_S)
            assert 1.1 < time.monotonic() - failed_s < 1.2 + SLACK_S
            assert found["attempts"] == 2


async def has_noted(store: Store, by_s: float) -> bool:
    shifts = [await store.execute("GET", keys.shift(shard)) for shard in range(8)]
    return any(shift and abs(int(shift) / 1000 - by_s) < 1 for shift in shifts)


@EITHER_WAY
async def test_what_a_call_schedules_comes_now_whatever_the_clock_was_before(
    single_store: Store, clock: SettableClock, by_s: float
):
    async with hooked(single_store, status(500), status(500), status(500)) as hook:
        dead = await hook.post(1)
        await hook.settled(dead, "dead")
        await hook.service.call("POST", f"/endpoints/{hook.id}:enable")
        clock.set_by(by_s)
        await hook.nudge()
        await wait_until(lambda: has_noted(single_store, by_s))
        since = {"since": "2020-01-01T00:00:00Z"}
        answer = await hook.service.call("POST", f"/endpoints/{hook.id}:recover", since)
        assert answer == {"scheduled": 1}
        await hook.settled(dead, "delivered")


@EITHER_WAY
async def test_sockets_and_new_posts_do_not_notice(
    single_store: Store, clock: SettableClock, by_s: float
):
    async with hooked(single_store) as hook, hook.service.socket("bob") as socket:
        posts = await hook.post(1)
        clock.set_by(by_s)
        posts += await hook.post(2)
        frames = await socket.take(3)
        assert [frame["offset"] for frame in frames] == [1, 2, 3]
        await hook.settled(posts, "delivered")
        feed = await hook.service.call("GET", "/users/bob/feed?after=0")
        assert len(feed["items"]) == 3
