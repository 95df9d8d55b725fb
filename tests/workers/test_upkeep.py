"""Ailing endpoints: parked, probed, drained, disabled, brought back; and what calls change."""

import asyncio
import json
import time
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from app.domain.signature import verify
from app.errors import StoreFull
from app.store import keys
from app.store.endpoints import Endpoint
from tests.receivers import Receiver, gated, refusing_port, status
from tests.store.places import check_keys
from tests.wait import wait_until
from tests.workers.faulty import FaultyStore
from tests.workers.rig import SECRET, Rig, users_of
from workers.supervisor import Worker

(BOB,) = users_of(1, 1)
SENDING = {
    "roles": frozenset({keys.SENDER}),
    "breaker_failures": 2,
    "breaker_open_s": 0.3,
    "endpoint_in_flight_max": 1,
    "retry_schedule_s": "0.1,0.1,0.1,0.1,0.1,0.1",
    "request_deadline_s": 0.3,
}


async def parked(rig: Rig, endpoint: Endpoint) -> int:
    return await rig.store.execute("ZCARD", keys.parked(1, endpoint.id))


async def open_with_parked(
    rig: Rig, receiver: Receiver, worker: Worker, number: int = 4
) -> Endpoint:
    """Bob's endpoint has failed twice; what else there was for it is parked."""
    receiver.script.extend([status(500), status(500)])
    endpoint = await rig.register(BOB, receiver.url)
    for _ in range(number):
        await rig.fanned_out([BOB])
    await wait_until(lambda: worker.stats.dispatch.notices["opened"])
    await wait_until(lambda: parked(rig, endpoint))
    return endpoint


async def all_delivered(rig: Rig, number: int, timeout_s: float = 5.0) -> None:
    async def are_delivered() -> bool:
        ends = await rig.store.execute("KEYS", "tally:*")
        tallies = [await rig.store.execute("HGET", key, "d") for key in ends]
        return sum(int(tally or 0) for tally in tallies) == number

    await wait_until(are_delivered, timeout_s)
    assert [found.place for found in (await rig.places()).values()] == ["delivered"] * number


# Probes and drains


async def test_a_breaker_opens_probes_and_drains_when_a_probe_succeeds(
    single_rig: Rig, receiver: Receiver
):
    rig = single_rig
    async with rig.working(**SENDING) as worker:
        endpoint = await open_with_parked(rig, receiver, worker)
        assert (await rig.endpoints.get(endpoint.id)).state == "open"
        await all_delivered(rig, 4)
        assert worker.stats.dispatch.notices == {"opened": 1, "closed": 1}
        assert len(receiver.requests) == 6
        await wait_until(lambda: _is_at_rest(rig))
    assert (await rig.endpoints.get(endpoint.id)).state == "active"
    await check_keys(rig.store)


async def _is_at_rest(rig: Rig) -> bool:
    return await rig.store.execute("ZCARD", keys.probes(1)) == 0


async def test_a_probe_that_fails_is_the_only_request_until_the_next(
    single_rig: Rig, receiver: Receiver
):
    rig = single_rig
    receiver.script.extend([status(500)] * 4)
    async with rig.working(**SENDING) as worker:
        endpoint = await open_with_parked(rig, receiver, worker)
        began = time.monotonic()
        await wait_until(lambda: len(receiver.requests) == 4)
        assert time.monotonic() - began > 0.3  # two probes: one soon, one later
        assert (await rig.endpoints.get(endpoint.id)).state == "open"
        receiver.script.clear()
        await all_delivered(rig, 4)


async def test_a_drain_is_paced_and_takes_no_more_at_once_than_it_may(
    single_rig: Rig, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("workers.upkeep.DRAIN_MAX", 3)
    rig = single_rig
    async with rig.working(**SENDING, drain_gap_ms=40) as worker:
        await open_with_parked(rig, receiver, worker, number=12)
        await wait_until(lambda: worker.stats.dispatch.notices["closed"])
        began = time.monotonic()
        await all_delivered(rig, 12)
    assert time.monotonic() - began > 0.3  # nine gaps and more


@pytest.mark.parametrize(
    ("word", "ran"),
    [("reschedule", False), ("reschedule", True), ("move_probe", True), ("ZRANGE", False)],
)
async def test_nothing_stays_parked_whatever_call_fails(
    single_rig: Rig, receiver: Receiver, word: str, ran: bool
):
    rig, store = single_rig, FaultyStore(single_rig.store)
    async with rig.working(store, **SENDING) as worker:
        await open_with_parked(rig, receiver, worker)
        fault = store.fail(word, times=2, ran=ran)
        await all_delivered(rig, 4)
    assert fault.hits == 2


@pytest.mark.parametrize("code", [410, 500])
async def test_what_is_being_parked_when_a_call_brings_its_endpoint_back_is_set_free(
    single_rig: Rig, code: int
):
    """A probe, if any, is an hour away: only the call can have set it free."""
    rig, store = single_rig, FaultyStore(single_rig.store)
    settings = SENDING | {"breaker_failures": 1, "breaker_open_s": 3_600, "retry_schedule_s": ""}
    async with Receiver(status(code)) as receiver, rig.working(store, **settings) as worker:
        endpoint = await rig.register(BOB, receiver.url)
        await rig.settled(await rig.fanned_out([BOB]), dead=1)
        written = store.hold("record_outcomes")
        post = await rig.fanned_out([BOB])
        await wait_until(lambda: worker.stats.dispatch.deferred["parked"])
        await wait_until(lambda: store.calls.count("record_outcomes") == 2)
        await rig.endpoints.enable(endpoint.id)
        probes = keys.probes(1), endpoint.id

        async def is_looked_after() -> bool:
            return await rig.store.execute("ZSCORE", *probes) is None

        await wait_until(is_looked_after)
        assert not await parked(rig, endpoint)
        written.set()
        await rig.settled(post, delivered=1)


async def test_a_full_store_stops_drains_but_not_what_makes_room_in_it(
    single_rig: Rig, receiver: Receiver
):
    rig, store = single_rig, FaultyStore(single_rig.store)
    other = users_of(1, 2)[1]
    async with rig.working(store, **SENDING) as worker:
        endpoint = await open_with_parked(rig, receiver, worker)
        fault = store.fail("reschedule", times=1_000, error=StoreFull("as the test wants it"))
        await wait_until(lambda: fault.hits)
        await rig.register(other, receiver.url)
        for _ in range(5):
            await rig.settled(await rig.fanned_out([other]), delivered=1)
        assert worker.stats.sender.failures == 0
        assert await parked(rig, endpoint) > 0
        fault.times = 0
        await all_delivered(rig, 9)


async def test_the_next_owner_finds_an_endpoint_as_ill_as_it_was(
    single_rig: Rig, receiver: Receiver
):
    rig = single_rig
    async with rig.working(**{**SENDING, "breaker_open_s": 60}) as worker:
        endpoint = await open_with_parked(rig, receiver, worker)
    asked = len(receiver.requests)
    async with rig.working(**{**SENDING, "breaker_open_s": 60}):
        await rig.fanned_out([BOB])
        await wait_until(lambda: _has(rig, endpoint, parked_at_least=5))
    assert len(receiver.requests) == asked
    await rig.places()


async def _has(rig: Rig, endpoint: Endpoint, parked_at_least: int) -> bool:
    return await parked(rig, endpoint) >= parked_at_least


# Disabled


async def test_an_endpoint_that_is_gone_is_disabled_until_a_call_brings_it_back(
    single_rig: Rig, receiver: Receiver
):
    rig = single_rig
    receiver.script.append(status(410))
    endpoint = await rig.register(BOB, receiver.url)
    async with rig.working(**SENDING):
        gone = await rig.fanned_out([BOB])
        await rig.settled(gone, dead=1)
        later = [await rig.fanned_out([BOB]) for _ in range(3)]
        await wait_until(lambda: _has(rig, endpoint, parked_at_least=3))
        found = await rig.endpoints.get(endpoint.id)
        assert (found.state, found.disabled_reason) == ("disabled", "gone")
        assert len(receiver.requests) == 1
        await rig.endpoints.enable(endpoint.id)
        for post in later:
            await rig.settled(post, delivered=1)
    assert (await rig.endpoints.get(endpoint.id)).state == "active"
    await check_keys(rig.store)


async def test_what_was_enabled_while_no_sender_was_there_is_drained_by_the_next(
    single_rig: Rig, receiver: Receiver
):
    rig = single_rig
    receiver.script.append(status(410))
    endpoint = await rig.register(BOB, receiver.url)
    async with rig.working(**SENDING):
        await rig.settled(await rig.fanned_out([BOB]), dead=1)
        post = await rig.fanned_out([BOB])
        await wait_until(lambda: _has(rig, endpoint, parked_at_least=1))
    await rig.endpoints.enable(endpoint.id)
    async with rig.working(**SENDING):
        await rig.settled(post, delivered=1)


async def test_an_endpoint_that_fails_for_too_long_is_disabled_and_a_probe_brings_it_back(
    single_rig: Rig, receiver: Receiver
):
    rig = single_rig
    receiver.script.extend([status(500)] * 3)
    endpoint = await rig.register(BOB, receiver.url)
    span = {"disable_after_s": 0.15, "disable_days": 1, "disabled_probe_s": 0.4}
    async with rig.working(**{**SENDING, "breaker_failures": 100}, **span) as worker:
        post = await rig.fanned_out([BOB])
        await wait_until(lambda: worker.stats.dispatch.notices["disabled"])
        await wait_until(lambda: _state(rig, endpoint, "disabled"))
        later = await rig.fanned_out([BOB])
        await rig.settled(post, delivered=1)
        await rig.settled(later, delivered=1)
        assert worker.stats.dispatch.notices == {"disabled": 1, "enabled": 1}
        await wait_until(lambda: _state(rig, endpoint, "active"))


async def _state(rig: Rig, endpoint: Endpoint, state: str) -> bool:
    found = await rig.endpoints.get(endpoint.id)
    return found is not None and found.state == state


async def test_what_is_parked_for_an_endpoint_that_is_deleted_is_suppressed(
    single_rig: Rig, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("workers.upkeep.DRAIN_MAX", 2)
    rig = single_rig
    receiver.script.append(status(410))
    endpoint = await rig.register(BOB, receiver.url)
    async with rig.working(**SENDING):
        await rig.settled(await rig.fanned_out([BOB]), dead=1)
        posts = [await rig.fanned_out([BOB]) for _ in range(5)]
        await wait_until(lambda: _has(rig, endpoint, parked_at_least=5))
        await rig.endpoints.delete(endpoint.id)
        for post in posts:
            await rig.settled(post, suppressed=1)
    await rig.places()
    await check_keys(rig.store)


# Slowed down


async def test_an_endpoint_that_asks_for_time_gets_it_and_spends_no_attempt(
    single_rig: Rig, receiver: Receiver
):
    rig = single_rig
    receiver.script.append(status(429, retry_after="1"))
    await rig.register(BOB, receiver.url)
    async with rig.working(**SENDING):
        began = time.monotonic()
        posts = [await rig.fanned_out([BOB]) for _ in range(3)]
        for post in posts:
            await rig.settled(post, delivered=1)
    assert time.monotonic() - began > 0.9
    assert {request.headers["moments-attempt"] for request in receiver.requests} == {"1"}
    assert len(receiver.requests) == 4


# What calls change


async def test_a_changed_address_holds_for_the_very_next_delivery(
    single_rig: Rig, receiver: Receiver
):
    rig = single_rig
    endpoint = await rig.register(BOB, receiver.url)
    async with rig.working(**SENDING) as worker, Receiver() as other:
        await rig.settled(await rig.fanned_out([BOB]), delivered=1)
        await rig.endpoints.change(endpoint.id, {"url": other.url})
        targets = worker.stats.targets
        assert targets is not None
        await wait_until(lambda: targets.get(endpoint.id).url.port == other.port)  # type: ignore[union-attr]
        await rig.settled(await rig.fanned_out([BOB]), delivered=1)
        assert (len(receiver.requests), len(other.requests)) == (1, 1)


@pytest.mark.parametrize("method", ["POST", "GET", "rest"])
async def test_a_ping_is_sent_at_once_signed_like_any_other_and_answered(
    single_rig: Rig, receiver: Receiver, method: str
):
    rig = single_rig
    endpoint = await rig.register(BOB, f"{receiver.url}?a=b", method=method)
    receiver.default = status(202, body=b"thank you")
    async with rig.working(**SENDING) as worker:
        attempt = await rig.endpoints.ping(endpoint.id, 5)
        assert worker.stats.pings.results == {"ok": 1}
    assert (attempt.status, attempt.error, attempt.response) == (202, None, "thank you")
    (request,) = receiver.requests
    if method == "GET":
        query = urlsplit(request.target).query
        message, signed = dict(parse_qsl(query)), query.encode()
        assert message["data"] == '{"ping":true}'
    else:
        message, signed = request.json(), request.body
        assert message["data"] == {"ping": True}
    assert message["type"] == "ping"
    assert verify(SECRET, request.headers, signed, time.time())
    (logged,) = await rig.endpoints.attempts(endpoint.id)
    assert logged == attempt
    await check_keys(rig.store)


async def test_a_ping_asked_for_while_a_shard_changes_hands_is_sent_once(
    single_rig: Rig, receiver: Receiver
):
    rig = single_rig
    endpoint = await rig.register(BOB, receiver.url)
    ping = asyncio.create_task(rig.endpoints.ping(endpoint.id, 10))
    await wait_until(lambda: rig.store.execute("XLEN", keys.changes(1)))
    for _ in range(2):
        async with rig.working(**SENDING):
            await rig.settled(await rig.fanned_out([BOB]), delivered=1)
    assert (await ping).status == 200
    ids = [request.headers["webhook-id"] for request in receiver.requests]
    assert sum(id_.startswith("ping-") for id_ in ids) == 1


# An endpoint is changed, and so many others after it that its change is cut off the stream, in one
# step: nobody can have read it.
MANY_CHANGES = """
redis.call('HSET', KEYS[1], 'url', ARGV[1])
redis.call('XADD', KEYS[2], '*', 'e', ARGV[2])
for _ = 1, 300 do
  redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[3], '*', 'w', '1')
end
"""


async def test_changes_that_were_cut_off_before_they_were_read_are_noticed(
    single_rig: Rig, receiver: Receiver
):
    rig, most = single_rig, 100
    async with Receiver() as new, rig.working(**SENDING, changes_max=most):
        endpoint = await rig.register(BOB, receiver.url)
        await rig.settled(await rig.fanned_out([BOB]), delivered=1)
        assert len(receiver.requests) == 1
        other = await rig.register(BOB, receiver.url, types=("no.such",))
        named = [keys.endpoint(1, endpoint.id), keys.changes(1)]
        await rig.store.execute(
            "EVAL", MANY_CHANGES, 2, *named, json.dumps(new.url), endpoint.id, most
        )
        await rig.endpoints.ping(other.id, 5)  # read after all those changes
        await rig.settled(await rig.fanned_out([BOB]), delivered=1)
    assert len(new.requests) == 1


async def test_a_ping_goes_past_an_open_breaker_and_tells_of_a_failure(
    single_rig: Rig, receiver: Receiver
):
    rig = single_rig
    async with rig.working(**{**SENDING, "breaker_open_s": 60}) as worker:
        endpoint = await open_with_parked(rig, receiver, worker)
        assert (await rig.endpoints.ping(endpoint.id, 5)).status == 200
        with refusing_port() as port:
            nobody = await rig.register(BOB, f"http://127.0.0.1:{port}/")
            attempt = await rig.endpoints.ping(nobody.id, 5)
        assert (attempt.status, attempt.error) == (0, "connect")
        assert (await rig.endpoints.get(endpoint.id)).state == "open"


async def test_pings_under_way_do_not_hold_up_a_worker_that_stops(
    single_rig: Rig, receiver: Receiver
):
    rig = single_rig
    receiver.default = gated(asyncio.Event())
    endpoint = await rig.register(BOB, receiver.url)
    began = time.monotonic()
    async with rig.working(**{**SENDING, "request_deadline_s": 60}):
        ping: asyncio.Task[Any] = asyncio.create_task(rig.endpoints.ping(endpoint.id, 60))
        await wait_until(lambda: receiver.requests)
    ping.cancel()
    await asyncio.gather(ping, return_exceptions=True)
    assert time.monotonic() - began < 5
