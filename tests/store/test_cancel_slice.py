"""cancel_slice.lua: a deletion takes back what is still pending, and only that."""

import pytest

from app.domain.delivery import State
from app.domain.post import Event, EventKind
from app.store import keys
from app.store.client import Store
from app.wire import Record
from tests.store.places import check_keys
from tests.store.scene import BOB, Scene, scene, tally
from tests.store.service import NOW_MS, Result, Sender, cancel, fan_out

OPEN = [state for state in State if not state.is_final]
FINAL = [state for state in State if state.is_final]


async def put(on: Scene, state: State, number: int = 0) -> None:
    made = 0 if state in (State.PENDING, State.PARKED_PENDING) else 2
    await on.sender.record([Result(on.id(number), state, made, 503, "x", NOW_MS + 5)])


async def test_what_was_never_tried_is_cancelled_in_the_stream(store: Store) -> None:
    on = await scene(store)
    assert await cancel(store, on.event, 0, 1) == 1
    assert await on.places() == ["cancelled"]
    assert await on.record() == Record(State.CANCELLED, 0, 0, NOW_MS)
    assert await tally(on) == {"c": 1}
    # Its entry is void: whoever reads it finds that it is cancelled already.
    outcome = Result(on.id(), State.CANCELLED, 0)
    assert (await on.sender.record([outcome], done=on.entries))[:2] == [0, 1]
    assert await store.execute("XLEN", keys.deliveries(1)) == 0
    assert await tally(on) == {"c": 1}


@pytest.mark.parametrize("state", OPEN)
async def test_what_waits_is_cancelled_where_it_waits(store: Store, state: State) -> None:
    on = await scene(store)
    await put(on, state)
    assert await cancel(store, on.event, 0, 1) == 1
    assert await on.places() == ["cancelled"]
    assert await tally(on) == {"c": 1}
    record = await on.record()
    assert record is not None
    assert (record.status, record.error) == (503, "")
    for key in (keys.retries(1), keys.parked(1, on.endpoints[0].id)):
        assert not await store.execute("EXISTS", key)


@pytest.mark.parametrize("state", FINAL)
async def test_what_is_final_is_left_alone(store: Store, state: State) -> None:
    on = await scene(store)
    await put(on, state)
    before = await on.record()
    assert await cancel(store, on.event, 0, 1) == 0
    assert await on.record() == before
    assert await tally(on) == {state.value: 1}


async def test_it_goes_delivery_by_delivery_and_twice_is_once(store: Store) -> None:
    on = await scene(store, endpoints=4)
    await put(on, State.DELIVERED, 0)
    await put(on, State.RETRYING, 1)
    await put(on, State.DEAD, 2)
    assert [await cancel(store, on.event, 0, 1), await cancel(store, on.event, 0, 1)] == [2, 0]
    assert await on.places() == ["delivered", "cancelled", "dead", "cancelled"]
    assert await tally(on) == {"d": 1, "x": 1, "c": 2}


async def test_other_slices_versions_and_posts_go_on(store: Store) -> None:
    on = await scene(store)
    edit = Event(on.event.post, 2, EventKind.UPDATED)
    other = await on.service.post()
    for event, slice_ in ((edit, 0), (on.event, 1), (other, 0)):
        await fan_out(store, event, [BOB], slice_=slice_)
    assert await cancel(store, on.event, 0, 1) == 1
    for event, slice_ in ((edit, 0), (on.event, 1), (other, 0)):
        key = keys.outcomes(1, event.post, event.version, slice_)
        assert not await store.execute("EXISTS", key)


async def test_where_nothing_was_fanned_out_nothing_is_cancelled(store: Store) -> None:
    on = await scene(store)
    assert await cancel(store, on.event, 0, 0) == await cancel(store, on.event, 9, 1) == 0
    await check_keys(store)


async def test_what_arrives_although_it_was_cancelled_was_delivered(store: Store) -> None:
    on = await scene(store)
    await cancel(store, on.event, 0, 1)
    former = await Sender(store, 1, token=b"two").take()
    assert (await former.record([Result(on.id(), State.DELIVERED)]))[0] == 1
    assert await on.places() == ["delivered"]
    assert await tally(on) == {"d": 1}


async def test_a_tally_that_ended_before_does_not_come_back_for_ever(store: Store) -> None:
    on = await scene(store)
    await store.execute("DEL", keys.tally(1, on.event.post))
    await cancel(store, on.event, 0, 1)
    await check_keys(store)
