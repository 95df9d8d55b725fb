"""Senders on a real store with real receivers: nothing lost, nothing repeated without a crash."""

import asyncio
import logging
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from app.clock import now_ms
from app.domain.delivery import State
from app.domain.post import Post
from app.domain.signature import new_secret
from app.receiver.server import Receiver as ListeningReceiver
from app.sealing import Sealer
from app.store import canary, keys
from app.store.graph import EdgeKind
from app.store.replies import pairs
from tests.clock import settable
from tests.receivers import Receiver, gated, status
from tests.store.places import check_keys
from tests.store.service import Result, Sender
from tests.wait import wait_until
from tests.workers.faulty import Died, FaultyStore
from tests.workers.rig import SECRET, SHARDS, Rig, users_of
from workers.sender import SenderShard
from workers.supervisor import Worker

FRIENDS = [name for shard in range(SHARDS) for name in users_of(shard, 3)]
SENDING = {"roles": frozenset({keys.SENDER})}


async def with_webhooks(rig: Rig, url: str, friends: list[str] = FRIENDS, **options: Any) -> Post:
    """A post that is fanned out to friends who have a webhook each."""
    for friend in friends:
        await rig.register(friend, url, **options)
    return await rig.fanned_out(friends)


def ids(receiver: Receiver) -> Counter[str]:
    return Counter(request.headers["webhook-id"] for request in receiver.requests)


async def check_delivered(rig: Rig, number: int = len(FRIENDS)) -> None:
    """All of it, in its one place, with nothing left behind."""
    found = [found.place for found in (await rig.places()).values()]
    assert found == ["delivered"] * number
    for shard in range(SHARDS):
        for key in (keys.deliveries(shard), keys.redeliveries(shard), keys.retries(shard)):
            assert await rig.store.execute("EXISTS", key) == 0 or not await _length(rig, key)


async def _length(rig: Rig, key: bytes) -> int:
    command = "ZCARD" if await rig.store.execute("TYPE", key) == b"zset" else "XLEN"
    return await rig.store.execute(command, key)


# Whatever the store does

CHANGES = [
    (word, nth, ran)
    for word, nth in (
        *(("read_group", nth) for nth in (1, 5)),
        *(("record_outcomes", nth) for nth in (1, 5)),
        ("move_due", 1),
    )
    for ran in (False, True)
]
READS = [(word, 1, False) for word in ("XRANGE", "HGETALL", "HMGET", "ZRANGE", "GET", "ZSCORE")]


@pytest.mark.parametrize(("word", "nth", "ran"), [*CHANGES, *READS])
async def test_each_delivery_is_made_once_whatever_call_fails(
    single_rig: Rig, receiver: Receiver, word: str, nth: int, ran: bool
):
    rig, store = single_rig, FaultyStore(single_rig.store)
    receiver.script.append(status(500))
    post = await with_webhooks(rig, receiver.url)
    fault = store.fail(word, nth=nth, ran=ran)
    async with rig.working(store, **SENDING):
        await rig.settled(post, delivered=len(FRIENDS))
    assert fault.hits == 1
    assert sum(ids(receiver).values()) == len(FRIENDS) + 1
    assert len(ids(receiver)) == len(FRIENDS)
    await check_delivered(rig)
    await check_keys(rig.store)


@pytest.mark.parametrize(("word", "nth", "ran"), [*CHANGES[1:8:2], *CHANGES[8:]])
async def test_the_next_owner_sends_what_the_dead_one_has_not_recorded(
    single_rig: Rig, receiver: Receiver, word: str, nth: int, ran: bool
):
    """What comes twice bears the same id, and nothing comes more often."""
    rig, store = single_rig, FaultyStore(single_rig.store)
    receiver.script.append(status(500))
    post = await with_webhooks(rig, receiver.url)
    store.fail(word, nth=nth, ran=ran, error=Died())
    worker = rig.worker(store, **SENDING, lease_s=0.5, request_deadline_s=0.5)
    with pytest.raises(BaseExceptionGroup):
        await worker.run(asyncio.Event())
    async with rig.working(**SENDING, lease_s=0.5):
        await rig.settled(post, delivered=len(FRIENDS))
    assert len(ids(receiver)) == len(FRIENDS)
    assert max(ids(receiver).values()) <= 3  # the one that failed first, and once more
    await check_delivered(rig)


@pytest.mark.parametrize(("word", "nth"), [("read_group", 2), ("HKEYS", 2), ("HMGET", 1)])
async def test_a_takeover_that_fails_half_way_is_done_again(
    single_rig: Rig, receiver: Receiver, word: str, nth: int
):
    rig, dead, store = single_rig, FaultyStore(single_rig.store), FaultyStore(single_rig.store)
    gate = asyncio.Event()
    receiver.default = gated(gate)
    post = await with_webhooks(rig, receiver.url)
    dead.fail("record_outcomes", error=Died())
    worker = rig.worker(dead, **SENDING, lease_s=0.5)
    run = asyncio.create_task(worker.run(asyncio.Event()))
    await wait_until(lambda: len(receiver.requests) == len(FRIENDS))
    gate.set()
    with pytest.raises(BaseExceptionGroup):
        await run
    fault = store.fail(word, nth=nth)
    async with rig.working(store, **SENDING, lease_s=0.5) as next_one:
        await rig.settled(post, delivered=len(FRIENDS))
        assert next_one.stats.sender.takeovers >= SHARDS
    assert fault.hits == 1
    assert max(ids(receiver).values()) == 2
    await check_delivered(rig)


async def test_a_store_that_is_away_for_longer_than_a_lease_repeats_nothing(
    single_rig: Rig, receiver: Receiver
):
    """What was delivered meanwhile is written down when it is back."""
    rig, store, gate = single_rig, FaultyStore(single_rig.store), asyncio.Event()
    receiver.default = gated(gate)
    post = await with_webhooks(rig, receiver.url)
    async with rig.working(store, **SENDING, lease_s=0.5) as worker:
        await wait_until(lambda: len(receiver.requests) == len(FRIENDS))
        store.is_away = True
        gate.set()
        await wait_until(lambda: worker.stats.tenure.lost[keys.SENDER] == SHARDS)
        await wait_until(lambda: worker.stats.outcomes.failures)
        store.is_away = False
        await rig.settled(post, delivered=len(FRIENDS))
        await wait_until(lambda: worker.stats.tenure.taken[keys.SENDER] == 2 * SHARDS)
        later = await rig.fanned_out(FRIENDS)
        await rig.settled(later, delivered=len(FRIENDS))
    assert max(ids(receiver).values()) == 1
    await check_delivered(rig, 2 * len(FRIENDS))


# Handing over


async def test_stopping_finishes_what_is_under_way_and_leaves_the_rest_in_order(
    rig: Rig, receiver: Receiver
):
    """Nothing is lost and nothing is sent twice, whether under way, in a lane, or unread."""
    gate = asyncio.Event()
    receiver.default = gated(gate)
    posts = [await with_webhooks(rig, receiver.url)]
    posts += [await rig.fanned_out(FRIENDS) for _ in range(4)]
    first = rig.worker(**SENDING, endpoint_in_flight_max=1, endpoint_queue_max=2)
    stop = asyncio.Event()
    run = asyncio.create_task(first.run(stop))
    await wait_until(lambda: len(receiver.requests) == len(FRIENDS))
    stop.set()
    async with rig.working(**SENDING):
        gate.set()
        for post in posts:
            await rig.settled(post, delivered=len(FRIENDS))
        await run
    assert set(ids(receiver).values()) == {1}
    assert len(ids(receiver)) == 5 * len(FRIENDS)
    await check_delivered(rig, 5 * len(FRIENDS))


async def test_a_shard_that_goes_to_another_worker_takes_its_work_along(
    single_rig: Rig, receiver: Receiver
):
    rig = single_rig
    for friend in FRIENDS:
        await rig.register(friend, receiver.url)
    async with rig.working(**SENDING) as first:
        posts = [await rig.fanned_out(FRIENDS) for _ in range(3)]
        async with rig.working(**SENDING) as second:
            posts += [await rig.fanned_out(FRIENDS) for _ in range(3)]
            await wait_until(lambda: second.stats.tenure.owned.get(keys.SENDER) == SHARDS // 2)
            posts += [await rig.fanned_out(FRIENDS) for _ in range(3)]
            for post in posts:
                await rig.settled(post, delivered=len(FRIENDS))
        await wait_until(lambda: first.stats.tenure.owned.get(keys.SENDER) == SHARDS)
    assert set(ids(receiver).values()) == {1}
    await check_delivered(rig, 9 * len(FRIENDS))


async def test_an_outcome_that_comes_after_the_lease_is_lost_counts_only_if_delivered(
    single_rig: Rig, receiver: Receiver
):
    """The failed one is the new owner's to send: the old one puts it nowhere."""
    rig, gate = single_rig, asyncio.Event()
    good, bad = users_of(1, 2)
    async with Receiver(gated(gate, status(500))) as failing:
        receiver.script.append(gated(gate))
        await rig.register(good, receiver.url)
        await rig.register(bad, failing.url)
        post = await rig.fanned_out([good, bad])
        async with rig.working(**SENDING) as worker:
            await wait_until(lambda: receiver.requests and failing.requests)
            await rig.store.execute("SET", keys.lease(1, keys.SENDER), "another", "PX", 60_000)
            await wait_until(lambda: worker.stats.tenure.lost[keys.SENDER] == 1)
            gate.set()
            await wait_until(lambda: worker.stats.outcomes.refused == 1)
            assert await rig.states(post) == {"delivered": 1, "pending": 1}
            places = Counter(found.place for found in (await rig.places()).values())
            assert places == {"delivered": 1, "deliveries": 1}
            await rig.store.execute("DEL", keys.lease(1, keys.SENDER))
            await rig.settled(post, delivered=2)
        assert len(failing.requests) == 2
    assert len(receiver.requests) == 1


# Back-pressure and room


@pytest.mark.parametrize("room_bytes", [1_000_000, 1])
async def test_however_little_room_there_is_everything_is_sent_and_no_attempt_is_spent(
    single_rig: Rig, receiver: Receiver, room_bytes: int
):
    """Whichever shard makes room, whoever waits for it gets it."""
    rig = single_rig
    posts = [await with_webhooks(rig, receiver.url)]
    posts += [await rig.fanned_out(FRIENDS) for _ in range(19)]
    held: list[int] = []
    async with rig.working(**SENDING, held_max=3, endpoint_in_flight_max=1) as worker:
        room = worker.stats.room
        assert room is not None
        room._bytes_max = room_bytes

        async def are_delivered() -> bool:
            held.append(room.held)
            return worker.stats.dispatch.states["d"] == 20 * len(FRIENDS)

        await wait_until(are_delivered, timeout_s=20)
        for post in posts:
            await rig.settled(post, delivered=len(FRIENDS))
        assert (room.held, room.held_bytes) == (0, 0)
    assert room.paused > 0
    assert max(held) <= 3 + SHARDS * 3  # each shard may go over it by one entry
    assert {request.headers["moments-attempt"] for request in receiver.requests} == {"1"}
    await check_delivered(rig, 20 * len(FRIENDS))


async def test_what_a_full_lane_turns_away_is_sent_later_unspent(
    single_rig: Rig, receiver: Receiver
):
    rig = single_rig
    (bob,) = users_of(1, 1)
    await rig.register(bob, receiver.url, rate_per_s=200)
    posts = [await rig.fanned_out([bob]) for _ in range(30)]
    async with rig.working(**SENDING, endpoint_queue_max=1, endpoint_in_flight_max=1) as worker:
        for post in posts:
            await rig.settled(post, delivered=1, timeout_s=15)
        turned_away = worker.stats.dispatch.deferred["no_room"]
        assert worker.stats.lanes is not None
        assert worker.stats.lanes.reached.full == {"endpoint_queue_max": turned_away}
        assert turned_away > 0
    assert {request.headers["moments-attempt"] for request in receiver.requests} == {"1"}
    assert set(ids(receiver).values()) == {1}
    await check_delivered(rig, 30)


async def test_one_hanging_endpoint_does_not_hold_up_the_others(
    single_rig: Rig, receiver: Receiver
):
    rig = single_rig
    gate = asyncio.Event()
    async with Receiver() as hanging:
        hanging.default = gated(gate)
        stuck, *others = FRIENDS
        await rig.register(stuck, hanging.url)
        for friend in others:
            await rig.register(friend, receiver.url)
        async with rig.working(**SENDING, request_deadline_s=30):
            posts = [await rig.fanned_out(FRIENDS) for _ in range(10)]
            for post in posts:
                await rig.settled(post, delivered=len(others), pending=1)
            gate.set()


# The schedule


async def test_retries_go_out_at_their_times(single_rig: Rig, receiver: Receiver):
    rig = single_rig
    for number in range(20):
        receiver.script.append(status(500))
        (bob,) = users_of(number % SHARDS, number + 1)[-1:]
        await rig.register(bob, receiver.url, retry_schedule_s=(0.2 + 0.02 * number,))
        await rig.fanned_out([bob])
    async with rig.working(**SENDING) as worker:
        await wait_until(lambda: worker.stats.dispatch.states["d"] == 20)
        lateness = worker.stats.dispatch.lateness
    assert sum(lateness.counts) == 20
    assert lateness.sum / 20 < 0.2  # whoever looks once a second is late by half of one


@pytest.mark.parametrize("word", ["read_group", "XRANGE"])
async def test_what_was_told_of_and_not_read_is_read_without_being_told_again(
    single_rig: Rig, receiver: Receiver, word: str
):
    """A read that fails before it is carried out leaves no trace that anybody else would see."""
    rig, store = single_rig, FaultyStore(single_rig.store)
    (bob,) = users_of(1, 1)
    async with Receiver() as new, rig.working(store, **SENDING):
        endpoint = await rig.register(bob, receiver.url)
        await rig.settled(await rig.fanned_out([bob]), delivered=1)
        fault = store.fail(word)
        await rig.endpoints.change(endpoint.id, {"url": new.url})
        await wait_until(lambda: word != "XRANGE" or fault.hits)
        post = await rig.fanned_out([bob])
        await rig.settled(post, delivered=1)
        assert fault.hits
        await wait_until(lambda: ids(new)[f"{post.id}-1-0-{endpoint.id}"] == 1)


async def test_a_look_at_the_schedule_for_nothing_puts_nothing_off(
    single_rig: Rig, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    """What is due soon is due then, not at the next look at a full stream."""
    monkeypatch.setattr("workers.sender.FULL_WAIT_MS", 60_000)
    rig, store = single_rig, FaultyStore(single_rig.store)
    receiver.script.append(status(500))
    post = await with_webhooks(rig, receiver.url, FRIENDS[:1], retry_schedule_s=(1.5,))
    async with rig.working(store, **SENDING) as worker:
        await rig.settled(post, retrying=1)
        ((_, due),) = await due_retries(rig)
        moves = store.calls.count("move_due")
        for shard in range(SHARDS):
            await rig.store.execute("XADD", keys.changes(shard), "*", "w", "1")
        await wait_until(lambda: store.calls.count("move_due") >= moves + SHARDS)
        await wait_until(lambda: known_dues(worker) == [due])
        await rig.settled(post, delivered=1)


async def due_retries(rig: Rig) -> list[tuple[bytes, int]]:
    found: list[tuple[bytes, int]] = []
    for shard in range(SHARDS):
        flat = await rig.store.execute("ZRANGE", keys.retries(shard), 0, -1, "WITHSCORES")
        found += [(id_, int(due)) for id_, due in pairs(flat)]
    return found


def known_dues(worker: Worker) -> list[int]:
    """When each sender of the worker will move retries next; those that know of none left out."""
    assert worker._keeper is not None
    jobs = [tenure.job for tenure in worker._keeper._tenures.values()]
    dues = [job._next_due_ms for job in jobs if isinstance(job, SenderShard)]
    return [due for due in dues if due is not None]


async def test_more_retries_than_one_move_takes_all_go_out(
    single_rig: Rig, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    rig = single_rig
    monkeypatch.setattr("workers.sender.MOVE_MAX", 7)
    people = users_of(1, 30)
    post = await with_webhooks(rig, receiver.url, people)
    await _make_due(rig, post, people)
    async with rig.working(**SENDING) as worker:
        await rig.settled(post, delivered=30)
        assert (worker.stats.sender.moved, worker.stats.sender.moves_full) == (30, 4)
    assert set(ids(receiver).values()) == {1}


async def test_more_retries_than_the_stream_has_room_for_all_go_out(
    single_rig: Rig, receiver: Receiver
):
    rig = single_rig
    people = users_of(1, 30)
    post = await with_webhooks(rig, receiver.url, people)
    await _make_due(rig, post, people)
    async with rig.working(**SENDING, redeliveries_max=7, held_max=5) as worker:
        await rig.settled(post, delivered=30)
        assert worker.stats.sender.stream_full > 0
    assert set(ids(receiver).values()) == {1}
    assert {request.headers["moments-attempt"] for request in receiver.requests} == {"2"}


async def _make_due(rig: Rig, post: Post, people: list[str]) -> None:
    """As if a sender had tried all of them once: they are on the schedule, and due."""
    sender = await Sender(rig.store, 1).take()
    entries = [id_ for id_, _ in await sender.read()]
    endpoints = [(await rig.endpoints.of_user(user))[0].id for user in people]
    results = [
        Result(f"{post.id}-1-0-{id_}", State.RETRYING, status=500, due_ms=now_ms() - 1)
        for id_ in endpoints
    ]
    await sender.record(results, done=entries)
    await rig.store.execute("DEL", sender.lease)


# What is not sent


async def test_an_attempt_log_outlasts_its_newest_entry_by_the_retention(
    single_rig: Rig, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    rig, clock, retention_s = single_rig, settable(monkeypatch), 3_600
    (user,) = users_of(1, 1)
    async with rig.working(**SENDING, retention_s=retention_s, lease_s=retention_s):
        endpoint = await rig.register(user, receiver.url)
        key = keys.attempts(1, endpoint.id)
        lasts: list[int] = []
        for passed_s in (0, 600, 600):  # the store's time does not pass
            clock.let_pass(passed_s)
            await rig.settled(await rig.fanned_out([user]), delivered=1)
            lasts.append(await rig.store.execute("TTL", key))
            await rig.store.execute("EXPIRE", key, lasts[-1] - 600)
    assert lasts[0] > retention_s * 1.25 - 10
    assert retention_s < lasts[1] < lasts[0] - 500
    assert lasts[2] > retention_s * 1.25 - 10


async def test_whoever_has_blocked_the_author_since_gets_no_late_delivery(
    single_rig: Rig, receiver: Receiver
):
    rig = single_rig
    bob, cid = users_of(1, 2)
    receiver.script.extend([status(500), status(500)])
    async with rig.working(**SENDING, retry_schedule_s="0.3"):
        post = await with_webhooks(rig, receiver.url, [bob, cid])
        await rig.settled(post, retrying=2)
        await rig.graph.add(EdgeKind.BLOCK, bob, "ann")
        await rig.settled(post, suppressed=1, delivered=1)
    assert receiver.requests[-1].json()["recipient"] == cid


async def test_a_post_that_is_no_longer_kept_is_not_sent(single_rig: Rig, receiver: Receiver):
    rig = single_rig
    post = await with_webhooks(rig, receiver.url)
    await rig.store.execute("DEL", keys.post(1, post.id), keys.post(0, post.id))
    for shard in range(SHARDS):
        await rig.store.execute("DEL", keys.post(shard, post.id))
    async with rig.working(**SENDING):
        await rig.settled(post, suppressed=len(FRIENDS))
    assert receiver.requests == []


async def test_an_endpoint_of_another_key_waits_for_better_times_and_loses_nothing(
    single_rig: Rig, receiver: Receiver, caplog: pytest.LogCaptureFixture
):
    """A worker with a wrong secret key must not throw away what it cannot sign."""
    rig = single_rig
    post = await with_webhooks(rig, receiver.url)
    worker = replace(rig, sealer=Sealer(b"k" * 32)).worker(**SENDING)
    stop = asyncio.Event()
    with caplog.at_level(logging.CRITICAL):
        run = asyncio.create_task(worker.run(stop))
        await wait_until(lambda: worker.stats.dispatch.deferred["unusable"] == len(FRIENDS))
        await wait_until(lambda: worker.stats.outcomes.written == len(FRIENDS))
        stop.set()
        await run
    places = Counter(found.place for found in (await rig.places()).values())
    assert places == {"retries": len(FRIENDS)}
    for shard in range(SHARDS):  # a minute later
        for id_ in await rig.store.execute("ZRANGE", keys.retries(shard), 0, -1):
            await rig.store.execute("ZADD", keys.retries(shard), 1, id_)
    async with rig.working(**SENDING):
        await rig.settled(post, delivered=len(FRIENDS))
    assert {request.headers["moments-attempt"] for request in receiver.requests} == {"1"}


async def test_an_entry_nobody_can_read_is_dropped_and_told_of_and_stops_no_other(
    single_rig: Rig, receiver: Receiver, caplog: pytest.LogCaptureFixture
):
    rig = single_rig
    for fields in (("x", "y"), ("e", "nonsense", "s", "0", "d", b"\x90"), ("e", "c1.x", "d", "z")):
        await rig.store.execute("XADD", keys.deliveries(1), "*", *fields)
    await rig.store.execute("XADD", keys.redeliveries(1), "*", "d", "nonsense")
    post = await with_webhooks(rig, receiver.url)
    with caplog.at_level(logging.ERROR):
        async with rig.working(**SENDING):
            await rig.settled(post, delivered=len(FRIENDS))
            await wait_until(lambda: len(caplog.records) == 4)
    assert {record.message for record in caplog.records} == {"entry cannot be read"}
    await check_delivered(rig)


async def test_a_canary_is_written_down_where_it_arrives(single_rig: Rig):
    rig = single_rig
    await canary.hand_on(rig.store, 2, 77)
    async with rig.working(**SENDING):
        await wait_until(lambda: canary.newest_ms(rig.store, SHARDS))
    assert await canary.newest_ms(rig.store, SHARDS) == 77
    assert await rig.store.execute("XLEN", keys.deliveries(2)) == 0


# The signature, all the way


def verifies(secret: str, request: Any) -> bool:
    try:
        Webhook(secret).verify(request.body, request.headers)
    except WebhookVerificationError:
        return False
    return True


async def test_while_a_secret_is_rotated_either_one_verifies_and_then_only_the_new_one(
    rig: Rig, receiver: Receiver
):
    (bob,) = users_of(1, 1)
    new = new_secret(lambda size: b"n" * size)
    endpoint = await rig.register(bob, receiver.url)
    async with rig.working(**SENDING):
        await rig.settled(await rig.fanned_out([bob]), delivered=1)
        at_ms = now_ms()
        await rig.endpoints.rotate(endpoint.id, new, overlap_s=1.0, now_ms=at_ms)

        async def is_signed_by_both() -> bool:
            await rig.settled(await rig.fanned_out([bob]), delivered=1)
            return " v1," in receiver.requests[-1].headers["webhook-signature"]

        await wait_until(is_signed_by_both)
        during = receiver.requests[-1]
        await wait_until(lambda: now_ms() > at_ms + 1_000)
        await rig.settled(await rig.fanned_out([bob]), delivered=1)
    before, after = receiver.requests[0], receiver.requests[-1]
    assert [verifies(SECRET, r) for r in (before, during, after)] == [True, True, False]
    assert [verifies(new, r) for r in (before, during, after)] == [False, True, True]


@pytest.mark.parametrize("method", ["POST", "GET", "rest"])
async def test_our_own_receiver_verifies_what_comes_by_every_method(single_rig: Rig, method: str):
    rig, seen = single_rig, []
    (bob,) = users_of(1, 1)
    listening = ListeningReceiver([SECRET], on_request=seen.append)
    port = await listening.start()
    await rig.register(bob, f"http://127.0.0.1:{port}/hook?mine=1", method=method)
    async with rig.working(**SENDING):
        await rig.settled(await rig.fanned_out([bob]), delivered=1)
    await listening.stop()
    (received,) = seen
    assert received.verdict
    assert received.method == ("GET" if method == "GET" else "POST")
    assert received.event()["recipient"] == bob
    assert received.event()["type"] == "post.created"
