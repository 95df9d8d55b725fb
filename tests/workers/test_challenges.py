"""Challenges: when they are sent, how often at most, and that only the right echo counts."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from app.domain.challenge import challenge_in
from app.errors import TooManyChallenges
from app.receiver.behaviour import Turn, echo
from app.store import keys
from app.store.challenges import SPAN_MS, Settled, settle, take
from app.store.endpoints import Endpoint
from tests.connect_proxy import ConnectProxy
from tests.receivers import Behaviour, Receiver, gated, status
from tests.store.places import check_keys
from tests.wait import wait_until
from tests.workers.faulty import FaultyStore
from tests.workers.rig import Rig, users_of

(BOB,) = users_of(1, 1)
SENDING: dict[str, Any] = {
    "roles": frozenset({keys.SENDER}),
    "verify_schedule_s": "0.05,0.05",
    "challenges_per_host_max": 1_000,
}


def echoing() -> Behaviour:
    async def act(turn: Turn) -> None:
        assert turn.received is not None
        challenge = challenge_in(turn.received.event())
        assert challenge is not None
        await echo(challenge).act(turn)

    return Behaviour(act, "echo", 200)


async def found(rig: Rig, endpoint: Endpoint) -> Endpoint:
    read = await rig.endpoints.get(endpoint.id)
    assert read is not None
    return read


async def comes_to(
    rig: Rig, endpoint: Endpoint, is_so: Callable[[Endpoint], bool], timeout_s: float = 5.0
) -> None:
    async def look() -> bool:
        return is_so(await found(rig, endpoint))

    await wait_until(look, timeout_s)


async def due(rig: Rig, endpoint: Endpoint) -> float | None:
    score = await rig.store.execute("ZSCORE", keys.probes(endpoint.shard), endpoint.id)
    return None if score is None else float(score)


async def parked(rig: Rig, endpoint: Endpoint) -> int:
    return await rig.store.execute("ZCARD", keys.parked(endpoint.shard, endpoint.id))


async def due_after(rig: Rig, endpoint: Endpoint, at_ms: int) -> bool:
    return (await due(rig, endpoint) or 0) > at_ms


# When


async def test_one_that_nobody_was_there_for_is_sent_by_the_next_owner(rig: Rig):
    async with Receiver(echoes=True) as receiver:
        endpoint = await rig.register(BOB, receiver.url, verify=True)
        assert await due(rig, endpoint) == 0
        post = await rig.fanned_out([BOB])
        async with rig.working(**SENDING) as worker:
            await rig.settled(post, delivered=1)
            assert worker.stats.challenges.results == {"ok": 1}
    assert (await found(rig, endpoint)).state == "active"
    await check_keys(rig.store)


async def test_they_stop_by_themselves_and_a_call_sends_one_more(single_rig: Rig):
    rig = single_rig
    async with Receiver(default=status(500)) as receiver, rig.working(**SENDING) as worker:
        endpoint = await rig.register(BOB, receiver.url, verify=True)
        await comes_to(rig, endpoint, lambda one: one.verification.challenges == 3)
        assert (await found(rig, endpoint)).verification.next_at_ms is None
        assert await due(rig, endpoint) is None
        attempt = await rig.endpoints.challenge(endpoint.id, 5.0)
        assert (attempt.status, attempt.error, attempt.attempt) == (500, "http_5xx", 4)
        assert await due(rig, endpoint) is None
        assert worker.stats.challenges.results == {"http_5xx": 4}
        assert worker.stats.targets.unverified == 1


async def test_the_time_of_the_next_is_shown(single_rig: Rig):
    rig = single_rig
    settings = SENDING | {"verify_schedule_s": "100"}
    async with Receiver() as receiver, rig.working(**settings):
        endpoint = await rig.register(BOB, receiver.url, verify=True)
        await comes_to(rig, endpoint, lambda one: one.verification.challenges == 1)
        shown = (await found(rig, endpoint)).verification.next_at_ms
        assert shown is not None
        assert abs(shown - receiver.requests[0].at_ms - 100_000) < 5_000
        at_first = await due(rig, endpoint)
        await rig.endpoints.challenge(endpoint.id, 5.0)  # a call leaves it as it is
        assert await due(rig, endpoint) == at_first
        assert (await found(rig, endpoint)).verification.next_at_ms == shown


async def test_what_cannot_be_noted_is_looked_after_again(single_rig: Rig):
    """When it is sent, the next look is put off for as long as something may still come of it."""
    rig = single_rig
    faulty = FaultyStore(rig.store)
    fault = faulty.fail("settle_challenge")
    async with Receiver(echoes=True) as receiver, rig.working(faulty, **SENDING):
        endpoint = await rig.register(BOB, receiver.url, verify=True)
        await wait_until(lambda: fault.hits)
        at_ms = receiver.requests[0].at_ms
        await wait_until(lambda: due_after(rig, endpoint, at_ms + 10_000))
        assert (await found(rig, endpoint)).state == "unverified"


async def test_an_outage_of_the_egress_proxy_is_no_challenge(single_rig: Rig):
    rig = single_rig
    proxy = ConnectProxy()
    await proxy.start()
    await proxy.stop()
    settings = SENDING | {"egress_proxy": proxy.url, "verify_schedule_s": ""}
    async with Receiver(echoes=True) as receiver, rig.working(**settings) as worker:
        endpoint = await rig.register(BOB, receiver.url, verify=True)
        await comes_to(rig, endpoint, lambda one: one.verification.next_at_ms is not None)
        assert (await found(rig, endpoint)).verification.challenges == 0
        assert worker.stats.challenges.results == {"proxy": 1}
        await proxy.start()
        assert (await rig.endpoints.challenge(endpoint.id, 5.0)).error is None
        assert (await found(rig, endpoint)).state == "active"
        assert proxy.asked == [f"127.0.0.1:{receiver.port}"]
    await proxy.stop()


# How often


async def test_a_host_gets_so_many_in_a_minute_whoever_asks(single_rig: Rig):
    rig = single_rig
    settings = SENDING | {"challenges_per_host_max": 2}
    async with Receiver() as receiver, rig.working(**settings) as worker:
        users = [users_of(shard, 1)[0] for shard in (0, 1, 2, 3)]
        made = [await rig.register(user, receiver.url, verify=True) for user in users]
        await wait_until(lambda: worker.stats.challenges.limited["challenges_per_host_max"] >= 2)
        with pytest.raises(TooManyChallenges):
            await rig.endpoints.challenge(made[0].id, 5.0)
        await asyncio.sleep(0.1)
        assert len(receiver.requests) == 2
        later = [await found(rig, one) for one in made]
        assert sum(one.verification.challenges for one in later) == 2
        # What was put off has lost nothing by it, and comes when the minute is over.
        assert all(one.verification.next_at_ms for one in later)
        assert [await due(rig, one) for one in made if await due(rig, one) is None] == []


async def test_hosts_are_counted_apart_and_for_a_minute(rig: Rig):
    assert await take(rig.store, 4, "one.example", 2) == 0
    assert await take(rig.store, 4, "one.example", 2) == 0
    assert 0 < await take(rig.store, 4, "one.example", 2) <= SPAN_MS
    assert await take(rig.store, 4, "two.example", 2) == 0
    await check_keys(rig.store)


async def test_a_sender_sends_so_many_in_a_second(single_rig: Rig):
    rig = single_rig
    settings = SENDING | {"challenges_per_s_max": 2.0, "verify_schedule_s": ""}
    async with Receiver() as receiver, rig.working(**settings) as worker:
        made = [await rig.register(BOB, receiver.url, verify=True) for _ in range(6)]
        await wait_until(lambda: worker.stats.challenges.limited["challenges_per_s_max"] >= 3)
        assert len(receiver.requests) <= 3
        asked = [rig.endpoints.challenge(one.id, 5.0) for one in made]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        refused = [one for one in answers if isinstance(one, TooManyChallenges)]
        assert len(refused) >= 4


# What counts


async def test_an_echo_that_comes_after_it_was_aimed_elsewhere_counts_for_nothing(single_rig: Rig):
    rig, gate = single_rig, asyncio.Event()
    async with Receiver(gated(gate, echoing())) as first, Receiver() as second:
        async with rig.working(**SENDING) as worker:
            endpoint = await rig.register(BOB, first.url, verify=True)
            await wait_until(lambda: first.requests)
            await rig.endpoints.change(endpoint.id, {"url": second.url})
            gate.set()
            await wait_until(lambda: worker.stats.challenges.results["ok"] == 1)
            post = await rig.fanned_out([BOB])
            await comes_to(rig, endpoint, lambda one: one.verification.challenges == 3)
            assert (await found(rig, endpoint)).state == "unverified"
            assert await rig.states(post) == {"pending": 1}
        assert {request.event()["type"] for request in second.requests} == {"endpoint.verify"}


@pytest.mark.parametrize("code", [200, 500, 410])
async def test_no_outcome_of_a_request_to_the_address_before_makes_it_active(
    single_rig: Rig, code: int
):
    rig, gate = single_rig, asyncio.Event()
    async with Receiver(gated(gate, status(code))) as first, Receiver() as second:
        settings = SENDING | {"breaker_failures": 1}
        async with rig.working(**settings) as worker:
            endpoint = await rig.register(BOB, first.url)
            await rig.fanned_out([BOB])
            await wait_until(lambda: first.requests)
            await rig.endpoints.change(endpoint.id, {"url": second.url}, verify=True)
            await wait_until(lambda: second.requests)  # the sender knows
            gate.set()
            await wait_until(lambda: sum(worker.stats.dispatch.results.values()) == 1)
            await rig.fanned_out([BOB])
            await comes_to(rig, endpoint, lambda one: one.verification.challenges == 3)
            assert (await found(rig, endpoint)).state == "unverified"
        assert {request.event()["type"] for request in second.requests} == {"endpoint.verify"}
        assert len(first.requests) == 1


async def test_health_that_was_not_written_yet_does_not_outlive_the_address(single_rig: Rig):
    """The store was away when the outcome came, and the endpoint was aimed elsewhere meanwhile."""
    rig = single_rig
    faulty = FaultyStore(rig.store)
    first, second = Receiver(status(500)), Receiver()
    async with first, second, rig.working(faulty, **SENDING):
        endpoint = await rig.register(BOB, first.url)
        written = faulty.hold("record_outcomes")
        await rig.fanned_out([BOB])
        await wait_until(lambda: first.requests)
        await rig.endpoints.change(endpoint.id, {"url": second.url}, verify=True)
        post = await rig.fanned_out([BOB])
        await comes_to(rig, endpoint, lambda one: one.verification.challenges == 3)
        written.set()
        await wait_until(lambda: parked(rig, endpoint))
        assert (await found(rig, endpoint)).state == "unverified"
        second.echoes = True
        assert (await rig.endpoints.challenge(endpoint.id, 5.0)).error is None
        await rig.settled(post, delivered=1)


async def test_what_is_parked_just_when_it_is_verified_is_set_free_too(single_rig: Rig):
    """Deliveries of a busy endpoint, at every moment of its verification."""
    rig = single_rig
    async with Receiver(echoes=True) as receiver, rig.working(**SENDING):
        for _ in range(3):
            post_count = 30
            made = await rig.register(BOB, receiver.url, verify=True)
            posts = [await rig.fanned_out([BOB]) for _ in range(post_count)]
            for post in posts:
                await rig.settled(post, delivered=1)
            await rig.endpoints.delete(made.id)


async def test_a_verified_endpoint_stays_as_it_is_whatever_is_settled(rig: Rig):
    endpoint = await rig.register(BOB, "http://127.0.0.1:9/")
    for result in ("echoed", "failed", "later"):
        settled = Settled(endpoint.id, endpoint.url, result, "challenge", 7, due_ms=5)
        assert not await settle(rig.store, settled, "r", b"", (5, 60, 100))
    assert await found(rig, endpoint) == endpoint
    assert await due(rig, endpoint) is None
