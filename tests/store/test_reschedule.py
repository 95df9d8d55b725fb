"""reschedule.lua: a delivery is sent again from wherever it is, and is then on its way once."""

import pytest

from app.domain.delivery import State, may_follow
from app.store import keys
from app.store.client import Store
from app.store.replies import pairs
from app.wire import Record, stream_fields
from tests.store.places import AGAIN, FIRST, SCHEDULE, check_places
from tests.store.scene import Scene, scene, tally
from tests.store.service import NOW_MS, SHARDS, Result, Sender

LATER_MS = NOW_MS + 60_000
ANYWHERE = [state for state in State if state not in (State.PENDING, State.RETRYING)]


async def put(on: Scene, state: State, attempts: int = 3, number: int = 0) -> None:
    """Records a state with a status, an error, and a schedule that began after two attempts."""
    made = 0 if state in (State.PENDING, State.PARKED_PENDING) else attempts
    await on.sender.record(
        [Result(on.id(number), state, made, 503, "http_5xx", NOW_MS + 5, 2 if made else 0)],
        done=on.entries,
    )


async def reschedule(on: Scene, *numbers: int, start_ms: int = 0, gap_ms: float = 0) -> int:
    ids = [on.id(number) for number in numbers or (0,)]
    return await on.service.ledger.reschedule(ids, LATER_MS, start_ms=start_ms, gap_ms=gap_ms)


@pytest.mark.parametrize("start_ms", [0, LATER_MS])
@pytest.mark.parametrize("state", State)
async def test_it_is_on_its_way_again_whatever_its_state(
    store: Store, state: State, start_ms: int
) -> None:
    on = await scene(store)
    await put(on, state)
    before = await on.record()
    assert before is not None
    assert await reschedule(on, start_ms=start_ms) == 1
    assert await on.places() == [SCHEDULE if start_ms else AGAIN]
    record = await on.record()
    assert record is not None
    assert may_follow(before.state, record.state)
    expected = State.RETRYING if before.attempts else State.PENDING
    assert (record.state, record.attempts, record.status) == (expected, before.attempts, 503)
    assert (record.due_ms, record.updated_at_ms) == (start_ms, LATER_MS)
    assert await tally(on) == {expected.value: 1}
    assert await store.execute("ZCARD", keys.dead(1)) == 0


@pytest.mark.parametrize("state", State)
async def test_what_was_final_begins_its_schedule_anew_and_the_rest_goes_on(
    store: Store, state: State
) -> None:
    on = await scene(store)
    await put(on, state)
    before = await on.record()
    await reschedule(on)
    record = await on.record()
    assert before is not None
    assert record is not None
    if state.is_final:
        assert (record.base, record.error) == (3, "")
    else:
        assert (record.base, record.error) == (before.base, "http_5xx")


@pytest.mark.parametrize("final", [State.SUPPRESSED, State.CANCELLED, State.DEAD])
async def test_what_was_never_tried_is_pending_again(store: Store, final: State) -> None:
    on = await scene(store)
    await put(on, final, attempts=0)
    await reschedule(on)
    assert await on.record() == Record(State.PENDING, 0, 503, LATER_MS)
    assert await tally(on) == {"p": 1}


async def test_what_is_in_a_stream_is_on_its_way_and_not_sent_twice(store: Store) -> None:
    on = await scene(store)
    assert await reschedule(on) == 0
    assert await on.places() == [FIRST]
    await on.sender.record([Result(on.id(), State.RETRYING, due_ms=NOW_MS)], done=on.entries)
    await on.sender.move_due(NOW_MS)
    assert await reschedule(on) == await reschedule(on, start_ms=LATER_MS) == 0
    assert await on.places() == [AGAIN]
    assert await store.execute("XLEN", keys.redeliveries(1)) == 1


@pytest.mark.parametrize("state", ANYWHERE)
async def test_asking_again_because_the_answer_was_lost_sends_once(
    store: Store, state: State
) -> None:
    on = await scene(store)
    await put(on, state)
    assert [await reschedule(on), await reschedule(on)] == [1, 0]
    assert await store.execute("XLEN", keys.redeliveries(1)) == 1


async def test_many_are_spread_out_from_the_time_on(store: Store) -> None:
    on = await scene(store, endpoints=3)
    for number in range(3):
        await put(on, State.DEAD, number=number)
    assert await reschedule(on, 0, 1, 2, start_ms=LATER_MS, gap_ms=20) == 3
    raw = await store.execute("ZRANGE", keys.retries(1), 0, -1, "WITHSCORES")
    assert [(id_.decode(), int(score)) for id_, score in pairs(raw)] == [
        (on.id(number), LATER_MS + 20 * number) for number in range(3)
    ]
    record = await on.record(2)
    assert record is not None
    assert record.due_ms == LATER_MS + 40


async def test_the_sender_is_woken_for_what_is_scheduled(store: Store) -> None:
    on = await scene(store)
    await put(on, State.DEAD)
    await store.execute("DEL", keys.changes(1))
    await reschedule(on, start_ms=LATER_MS)
    ((_, raw),) = await store.execute("XRANGE", keys.changes(1), "-", "+")
    assert stream_fields(raw) == {b"w": b"1"}


async def test_what_the_ledger_does_not_know_any_more_is_forgotten_everywhere(
    store: Store,
) -> None:
    on = await scene(store, endpoints=3)
    for number, state in enumerate((State.DEAD, State.PARKED_PENDING, State.RETRYING)):
        await put(on, state, number=number)
    await store.execute("DEL", keys.outcomes(1, on.event.post, 1, 0))
    assert await reschedule(on, 0, 1, 2) == 0
    for key in (keys.dead(1), keys.parked(1, on.endpoints[1].id), keys.retries(1)):
        assert not await store.execute("EXISTS", key)
    assert await store.execute("XLEN", keys.redeliveries(1)) == 0


async def test_deliveries_of_several_shards_go_in_one_call(store: Store) -> None:
    on = await scene(store)
    await put(on, State.DEAD)
    strange = on.id()[:-2] + "02"  # of a shard where nothing is known of it
    ids = [strange, on.id()]
    assert await on.service.ledger.reschedule(ids, NOW_MS) == 1
    assert await on.service.ledger.reschedule([], NOW_MS) == 0


async def test_a_delivery_sent_again_goes_on_with_its_attempts(store: Store) -> None:
    on = await scene(store)
    await put(on, State.DEAD)
    await reschedule(on)
    ((entry, raw),) = await on.sender.read(again=True)
    assert stream_fields(raw) == {b"d": on.id().encode()}
    result = Result(on.id(), State.RETRYING, 4, 500, "http_5xx", LATER_MS, base=3)
    assert (await on.sender.record([result], redone=[entry]))[:2] == [1, 0]
    assert await on.places() == [SCHEDULE]
    found = await check_places(store, SHARDS)
    assert found[on.id()].record == Record(State.RETRYING, 4, 500, NOW_MS, "http_5xx", LATER_MS, 3)


async def test_a_former_owner_who_delivers_what_was_sent_again_ends_it(store: Store) -> None:
    on = await scene(store)
    await put(on, State.DEAD)
    await reschedule(on, start_ms=LATER_MS)
    await Sender(store, 1, token=b"two").take()
    await on.sender.record([Result(on.id(), State.DELIVERED, 4)])
    assert await on.places() == ["delivered"]
