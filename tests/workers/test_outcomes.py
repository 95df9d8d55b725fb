"""Writing outcomes: in batches, in order, each once, whatever the store answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.domain.attempt import Outcome
from app.domain.delivery import State
from app.errors import StoreUnavailable
from app.store import keys
from app.store.client import Store
from app.wire import encode_attempt
from tests.store.scene import BOB, Scene, scene
from tests.store.service import NOW_MS, fan_out
from tests.wait import wait_until
from tests.workers.faulty import FaultyStore
from workers.outcomes import OutcomeLimits, OutcomeStats, OutcomeWriter, Written

SHARD = 1


class Writing:
    """A writer at work, and what it has written."""

    def __init__(self, store: Any, token: bytes = b"one", **limits: Any) -> None:
        self.written: list[Written] = []
        self.stats = OutcomeStats()
        defaults = {"batch_max": 256, "wait_s": 0.005, "dead_max": 100, "parked_max": 100}
        self.writer = OutcomeWriter(
            store,
            shard=SHARD,
            token=token,
            limits=OutcomeLimits(
                retention_s=3_600,
                log_max=100,
                **{**defaults, **limits},
            ),
            stats=self.stats,
            on_written=self.written.append,
        )
        self.run = asyncio.create_task(self.writer.run())

    def add(self, scene: Scene, number: int, state: State = State.DELIVERED, **more: Any) -> None:
        attempts = more.pop("attempts", 1)
        place = (scene.event.post, scene.event.version, 0)
        more.setdefault("at_ms", NOW_MS)
        self.writer.add(place, scene.endpoints[number].id, state, attempts, **more)

    async def end(self) -> None:
        self.writer.close()
        async with asyncio.timeout(5):
            await self.run


@asynccontextmanager
async def writing(store: Any, **options: Any) -> AsyncIterator[Writing]:
    """Closed at the end: what was added is written then."""
    made = Writing(store, **options)
    try:
        yield made
        await made.end()
    finally:
        made.run.cancel()
        await asyncio.gather(made.run, return_exceptions=True)


async def test_outcomes_of_one_moment_share_a_batch(single_store: Store):
    made = await scene(single_store, endpoints=20)
    async with writing(single_store) as work:
        for number in range(20):
            last = number == 19
            work.add(made, number, entry=made.entries[0] if last else None)
        await wait_until(lambda: work.written)
    (batch,) = work.written
    assert (batch.deliveries, batch.done, batch.redone) == (20, made.entries, [])
    assert await made.places() == ["delivered"] * 20
    assert await single_store.execute("XLEN", keys.deliveries(SHARD)) == 0


async def test_a_full_batch_does_not_wait_and_none_is_larger(single_store: Store):
    made = await scene(single_store, endpoints=35)
    async with writing(single_store, batch_max=10, wait_s=60) as work:
        for number in range(35):
            work.add(made, number)
        await wait_until(lambda: len(work.written) == 3)
    assert [batch.deliveries for batch in work.written] == [10, 10, 10, 5]
    assert (work.stats.batches, work.stats.batches_full) == (4, 3)
    assert work.stats.written == 35


async def test_entries_alone_fill_batches_too(single_store: Store):
    async with writing(single_store, batch_max=10, wait_s=60) as work:
        await single_store.execute("SET", keys.lease(SHARD, keys.SENDER), "one")
        for number in range(25):
            work.writer.close_entry(b"%d-1" % (number + 1), again=True)
    assert [len(batch.redone) for batch in work.written] == [10, 10, 5]


async def test_what_lists_that_are_full_make_room_for_is_counted(single_store: Store):
    made = await scene(single_store, endpoints=3)
    async with writing(single_store, dead_max=2) as work:
        for number in range(3):
            work.add(made, number, State.DEAD)
    assert (work.stats.unparked, work.stats.dropped) == (0, 1)


async def test_parked_ones_that_a_full_list_made_dead_letters_of_are_counted(single_store: Store):
    made = await scene(single_store)
    events = [made.event, *[await made.service.post() for _ in range(3)]]
    for event in events[1:]:
        await fan_out(single_store, event, [BOB])
    async with writing(single_store, parked_max=2) as work:
        for event in events:
            place = (event.post, event.version, 0)
            work.writer.add(place, made.endpoints[0].id, State.PARKED_PENDING, 0, at_ms=NOW_MS)
    assert (work.stats.unparked, work.stats.dropped) == (2, 0)


@pytest.mark.parametrize("ran", [False, True])
async def test_a_batch_whose_answer_was_lost_is_written_once(single_store: Store, ran: bool):
    made = await scene(single_store, endpoints=2)
    store = FaultyStore(single_store)
    store.fail("record_outcomes", times=2, ran=ran)
    entry = encode_attempt(made.id(0), 1, NOW_MS, Outcome(500, None, 1.0))
    async with writing(store) as work:
        work.add(made, 0, State.RETRYING, due_ms=NOW_MS + 9, log_entry=entry)
        work.add(made, 1, State.DEAD, entry=made.entries[0], log_entry=entry)
    assert store.calls.count("record_outcomes") == 3
    assert await made.places() == ["retries", "dead"]
    for endpoint in made.endpoints:
        assert await single_store.execute("LLEN", keys.attempts(SHARD, endpoint.id)) == 1
    assert work.written[0].deliveries == 2


async def test_a_retry_goes_back_on_the_schedule_in_the_step_that_takes_it_off_the_stream(
    single_store: Store,
):
    """However full a batch is: between two it would be in two places."""
    made = await scene(single_store, endpoints=2)
    store = FaultyStore(single_store)
    async with writing(store, batch_max=1) as work:
        work.add(made, 0, State.RETRYING, due_ms=NOW_MS)
        work.add(made, 1, State.RETRYING, due_ms=NOW_MS, entry=made.entries[0])
        await wait_until(lambda: len(work.written) == 2)
        await made.sender.move_due(NOW_MS)
        entries = {raw[1].decode(): id_ for id_, raw in await made.sender.read(again=True)}
        fault = store.fail("record_outcomes", nth=2, times=3)
        for number in range(2):
            entry = entries[made.id(number)]
            work.add(
                made, number, State.RETRYING, attempts=2, due_ms=NOW_MS, entry=entry, again=True
            )
        await wait_until(lambda: fault.hits)
        assert await made.places() == ["retries", "redeliveries"]
    assert await made.places() == ["retries", "retries"]


async def test_the_first_batch_of_an_owner_that_has_come_back_is_another_one(
    single_store: Store,
):
    """Its token is the same, and the last batch the store remembers may be the first of before."""
    made = await scene(single_store, endpoints=2)
    async with writing(single_store) as work:
        work.add(made, 0)
    async with writing(single_store) as again:
        again.add(made, 1, entry=made.entries[0])
    assert (work.stats.written, again.stats.written) == (1, 1)
    assert await made.places() == ["delivered", "delivered"]


async def test_of_a_former_owner_only_what_was_delivered_counts(single_store: Store):
    made = await scene(single_store, endpoints=3)
    await single_store.execute("SET", keys.lease(SHARD, keys.SENDER), "another")
    async with writing(single_store) as work:
        work.add(made, 0, State.DELIVERED)
        work.add(made, 1, State.RETRYING, due_ms=NOW_MS)
        work.add(made, 2, State.DEAD, entry=made.entries[0])
        work.writer.set_health(made.endpoints[0].id, {"state": "disabled"}, NOW_MS)
    assert (work.stats.written, work.stats.refused) == (1, 2)
    assert await made.places() == ["delivered", "deliveries", "deliveries"]
    assert (await made.service.endpoints.get(made.endpoints[0].id)).state == "active"
    assert await single_store.execute("ZCARD", keys.probes(SHARD)) == 0


async def test_a_batch_says_what_is_due_next(single_store: Store):
    made = await scene(single_store, endpoints=2)
    async with writing(single_store) as work:
        work.add(made, 0, State.RETRYING, due_ms=NOW_MS + 70)
        work.add(made, 1, State.RETRYING, due_ms=NOW_MS + 50)
        work.writer.set_health(made.endpoints[0].id, {}, NOW_MS + 40)
        work.writer.set_health(made.endpoints[1].id, {}, NOW_MS + 30)
        await wait_until(lambda: work.written)
    assert work.written[0].next_due_ms == NOW_MS + 50
    assert work.written[0].next_probe_ms == NOW_MS + 30


async def test_health_is_settled_with_the_last_batch_that_tells_of_it(single_store: Store):
    made = await scene(single_store)
    (endpoint,) = made.endpoints
    store = FaultyStore(single_store)
    gate = store.hold("record_outcomes")
    async with writing(store) as work:
        work.writer.set_health(endpoint.id, {"consecutive_failures": 1, "open_until": 5})
        work.writer.set_health(endpoint.id, {"consecutive_failures": 2})
        await wait_until(lambda: store.calls)
        work.writer.set_health(endpoint.id, {"consecutive_failures": 3})
        gate.set()
        await wait_until(lambda: len(work.written) == 2)
    assert [batch.endpoints for batch in work.written] == [[], [endpoint.id]]
    found = await made.service.endpoints.get(endpoint.id)
    assert (found.consecutive_failures, found.open_until_ms) == (3, 5)


async def test_without_a_lease_a_store_that_is_away_is_waited_for_only_for_a_while(
    single_store: Store,
):
    made = await scene(single_store)
    store = FaultyStore(single_store)
    store.is_away = True
    work = Writing(store)
    work.add(made, 0)
    await wait_until(lambda: work.stats.failures)
    work.writer.lose_patience(after_s=0.05)
    await work.end()
    assert work.written == []
    assert await made.places() == ["deliveries"]


async def test_what_was_delivered_is_written_by_a_former_owner_when_the_store_is_back(
    single_store: Store,
):
    made = await scene(single_store)
    store = FaultyStore(single_store)
    store.fail("record_outcomes", times=3, error=StoreUnavailable("away"))
    await single_store.execute("DEL", keys.lease(SHARD, keys.SENDER))
    async with writing(store) as work:
        work.writer.lose_patience()
        work.add(made, 0, entry=made.entries[0])
    assert await made.places() == ["delivered"]
    assert work.stats.failures == 3
