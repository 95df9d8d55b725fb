"""record_outcomes.lua: each outcome puts its delivery where it goes next, once, in one step."""

import pytest

from app.domain.delivery import State
from app.domain.post import Event, EventKind
from app.errors import StoreFull
from app.store import keys
from app.store.client import Store
from app.store.replies import pairs
from app.wire import Record, decode_record
from tests.store.places import AGAIN, FIRST, PARKED, SCHEDULE, check_keys, check_places
from tests.store.scene import BOB, Scene, scene, tally
from tests.store.service import (
    NOW_MS,
    RETENTION_S,
    SHARDS,
    Result,
    Sender,
    cancel,
    fan_out,
)

DUE_MS = NOW_MS + 5_000


NEXT = [
    (Result("", State.DELIVERED, status=200), "delivered", "d"),
    (Result("", State.DEAD, status=410, error="http_4xx"), "dead", "x"),
    (Result("", State.SUPPRESSED, 0, error="blocked"), "suppressed", "s"),
    (Result("", State.CANCELLED, 0, error="deleted"), "cancelled", "c"),
    (Result("", State.RETRYING, status=503, due_ms=DUE_MS), SCHEDULE, "r"),
    (Result("", State.PENDING, 0, error="deferred", due_ms=DUE_MS), SCHEDULE, "p"),
    (Result("", State.PARKED_PENDING, 0, error="parked"), PARKED, "p"),
    (Result("", State.PARKED_RETRYING, 2, status=500, base=1), PARKED, "r"),
]


def outcome(of: Scene, result: Result, number: int = 0) -> Result:
    """The outcome for one of the scene's deliveries."""
    fields = {name: getattr(result, name) for name in Result.__slots__}
    return Result(**{**fields, "delivery": of.id(number)})


@pytest.mark.parametrize(("result", "place", "letter"), NEXT)
async def test_an_outcome_is_recorded_counted_and_acknowledged(
    store: Store, result: Result, place: str, letter: str
) -> None:
    on = await scene(store)
    assert await on.places() == [FIRST]
    answer = await on.sender.record([outcome(on, result)], done=on.entries)
    scheduled = place == SCHEDULE
    due = b"%d" % DUE_MS if scheduled else b""
    wake = b"%d" % NOW_MS if place == PARKED else b""  # the endpoint is active
    assert answer == [1, 0, 0, 0, due, wake]
    assert await on.places() == [place]
    assert await on.record() == Record(
        *(result.state, result.attempts, result.status, NOW_MS, result.error),
        *(result.due_ms, result.base),
    )
    assert await tally(on) == {letter: 1}
    assert await store.execute("XLEN", keys.deliveries(1)) == 0
    assert await store.execute("XPENDING", keys.deliveries(1), keys.GROUP) == [0, None, None, None]
    await check_keys(store)


@pytest.mark.parametrize(("result", "place", "letter"), NEXT)
async def test_a_batch_that_comes_again_because_its_answer_was_lost_counts_once(
    store: Store, result: Result, place: str, letter: str
) -> None:
    on = await scene(store)
    logged = outcome(on, result)
    logged = Result(**{**{n: getattr(logged, n) for n in Result.__slots__}, "log": b"entry"})
    for expected in ([1, 0], [0, 0]):
        answer = await on.sender.record([logged], done=on.entries, batch_id=b"7")
        assert answer[:2] == expected
    assert await on.places() == [place]
    assert await tally(on) == {letter: 1}
    assert await store.execute("LLEN", keys.attempts(1, on.endpoints[0].id)) == 1


async def test_a_former_owners_batch_does_not_make_an_owners_count_twice(store: Store) -> None:
    on = await scene(store)
    former = Sender(store, 1, token=b"former")
    retry = Result(on.id(), State.RETRYING, due_ms=NOW_MS)
    await on.sender.record([retry], batch_id=b"owner:1")
    await on.sender.move_due(NOW_MS)
    await former.record([], batch_id=b"former:9")
    assert (await on.sender.record([retry], batch_id=b"owner:1"))[0] == 0
    assert await on.places() == [AGAIN]


async def test_deliveries_of_an_entry_have_places_of_their_own_until_all_are_dealt_with(
    store: Store,
) -> None:
    on = await scene(store, endpoints=3)
    await on.sender.record([Result(on.id(0), State.DELIVERED)])
    assert await on.places() == ["delivered", FIRST, FIRST]
    await on.sender.record([Result(on.id(2), State.RETRYING, due_ms=DUE_MS)])
    assert await on.places() == ["delivered", FIRST, SCHEDULE]
    await on.sender.record([Result(on.id(1), State.DEAD)], done=on.entries)
    assert await on.places() == ["delivered", "dead", SCHEDULE]
    assert await tally(on) == {"d": 1, "x": 1, "r": 1}


@pytest.mark.parametrize(("result", "place", "letter"), NEXT)
async def test_of_a_former_owner_only_a_delivery_counts(
    store: Store, result: Result, place: str, letter: str
) -> None:
    on = await scene(store)
    owner = await Sender(store, 1, token=b"two").take()
    answer = await on.sender.record([outcome(on, result)], done=on.entries)
    if letter == "d":
        assert (answer[0], await on.places(), await tally(on)) == (1, ["delivered"], {"d": 1})
    else:
        assert (answer[:2], await on.places(), await tally(on)) == ([0, 1], [FIRST], {})
    assert [id_ for id_, _ in await owner.read(after=b"0")] == on.entries


@pytest.mark.parametrize(("result", "place", "letter"), NEXT[1:])
async def test_delivered_is_the_truth_wherever_a_delivery_had_been_put(
    store: Store, result: Result, place: str, letter: str
) -> None:
    on = await scene(store)
    await on.sender.record([outcome(on, result)], done=on.entries)
    await Sender(store, 1, token=b"two").take()
    assert (await on.sender.record([Result(on.id(), State.DELIVERED, 3)]))[0] == 1
    assert await on.places() == ["delivered"]
    assert await tally(on) == {"d": 1}
    for key in (keys.retries(1), keys.dead(1), keys.parked(1, on.endpoints[0].id)):
        assert not await store.execute("EXISTS", key)


@pytest.mark.parametrize("final", [State.DELIVERED, State.DEAD, State.SUPPRESSED, State.CANCELLED])
async def test_what_is_final_stays_so(store: Store, final: State) -> None:
    on = await scene(store)
    await on.sender.record([Result(on.id(), final, 1)])
    before = await on.record()
    for result, _, letter in NEXT:
        if letter != "d" or final is State.DELIVERED:
            assert (await on.sender.record([outcome(on, result)]))[:2] == [0, 1]
    assert await on.record() == before
    assert await tally(on) == {final.value: 1}


async def test_an_outcome_with_fewer_attempts_than_were_made_is_an_old_one(
    store: Store,
) -> None:
    on = await scene(store)
    await on.sender.record([Result(on.id(), State.RETRYING, 2, due_ms=DUE_MS)])
    old = Result(on.id(), State.DEAD, 1)
    assert (await on.sender.record([old]))[:2] == [0, 1]
    assert await on.places() == [SCHEDULE]
    same = Result(on.id(), State.RETRYING, 2, error="deferred", due_ms=DUE_MS + 1)
    assert (await on.sender.record([same]))[:2] == [1, 0]
    assert await store.execute("ZSCORE", keys.retries(1), on.id()) == str(DUE_MS + 1).encode()


async def test_two_outcomes_of_one_delivery_in_one_batch_count_as_one_after_the_other(
    store: Store,
) -> None:
    on = await scene(store)
    answer = await on.sender.record(
        [
            Result(on.id(), State.RETRYING, 1, due_ms=DUE_MS),
            Result(on.id(), State.DELIVERED, 2),
            Result(on.id(), State.DEAD, 3),
        ]
    )
    assert answer[:2] == [2, 1]
    assert await on.places() == ["delivered"]
    assert await tally(on) == {"d": 1}


async def test_a_retry_is_acknowledged_with_its_next_outcome(store: Store) -> None:
    on = await scene(store)
    await on.sender.record([Result(on.id(), State.RETRYING, 1, due_ms=NOW_MS)], done=on.entries)
    await on.sender.move_due(NOW_MS)
    ((entry, _),) = await on.sender.read(again=True)
    assert await on.places() == [AGAIN]
    await on.sender.record([Result(on.id(), State.RETRYING, 2, due_ms=DUE_MS)], redone=[entry])
    assert await on.places() == [SCHEDULE]
    assert await store.execute("XLEN", keys.redeliveries(1)) == 0


async def test_thousands_of_outcomes_that_an_outage_held_up_are_written_in_one_batch(
    store: Store,
) -> None:
    number = 9_000
    on = await scene(store)
    ids = [f"{index:08}01" for index in range(number)]
    await store.execute("HSET", keys.routes(1), BOB, " ".join(ids))
    await store.execute("DEL", keys.roster(1, on.event.post, 1, 0), keys.tally(1, on.event.post))
    await fan_out(store, on.event, [BOB])
    added = [await store.execute("XADD", keys.redeliveries(1), "*", "d", "x") for _ in range(10)]
    results = [
        Result(f"{on.event.post}-1-0-{id_}", State.RETRYING, due_ms=DUE_MS, log=b"entry")
        for id_ in ids
    ]
    entries = [*on.entries, *(b"%d-0" % index for index in range(1, number))]
    answer = await on.sender.record(results, done=entries, redone=[*entries, *added])
    assert answer[:4] == [number, 0, 0, 0]
    assert await store.execute("ZCARD", keys.retries(1)) == number
    assert await store.execute("XLEN", keys.redeliveries(1)) == 0
    raw = await store.execute("HGETALL", keys.tally(1, on.event.post))
    assert dict(pairs(raw))[b"r"] == b"%d" % number


# Bounds


async def test_the_attempt_log_keeps_the_newest(store: Store) -> None:
    on = await scene(store, log_max=3)
    key = keys.attempts(1, on.endpoints[0].id)
    for attempt in range(1, 60):
        result = Result(on.id(), State.RETRYING, attempt, due_ms=1, log=b"%d" % attempt)
        await on.sender.record([result])
        assert await store.execute("LLEN", key) <= 3 + 16
    kept = await store.execute("LRANGE", key, 0, 2)
    assert kept == [b"59", b"58", b"57"]


async def test_the_end_of_an_attempt_log_is_put_off_when_the_sender_says_so(store: Store) -> None:
    on = await scene(store)
    key = keys.attempts(1, on.endpoints[0].id)
    lasts = []
    for attempt, renews in enumerate((False, False, True), 1):
        result = Result(on.id(), State.RETRYING, attempt, due_ms=1, log=b"x", renews=renews)
        await on.sender.record([result])
        lasts.append(await store.execute("TTL", key))
        await store.execute("EXPIRE", key, RETENTION_S)
    new, kept, renewed = lasts
    assert new == renewed == RETENTION_S * 1.25
    assert kept == RETENTION_S


async def test_too_many_dead_letters_drop_the_oldest_and_say_so(store: Store) -> None:
    on = await scene(store, endpoints=4, dead_max=2)
    for number in range(3):
        answer = await on.sender.record([Result(on.id(number), State.DEAD)], now_ms=NOW_MS + number)
    assert answer[3] == 1
    assert await store.execute("ZRANGE", keys.dead(1), 0, -1) == [
        on.id(number).encode() for number in (1, 2)
    ]
    assert await tally(on) == {"x": 3}


async def test_the_oldest_of_too_many_parked_becomes_a_dead_letter(store: Store) -> None:
    on = await scene(store, parked_max=2)
    slices = [on.event]
    for _ in range(3):
        slices.append(await on.service.post())
        await fan_out(store, slices[-1], [BOB])
    ids = [f"{event.post}-1-0-{on.endpoints[0].id}" for event in slices]
    dropped = 0
    for number, id_ in enumerate(ids):
        parked = Result(id_, State.PARKED_RETRYING, 2, status=503)
        answer = await on.sender.record([parked], now_ms=NOW_MS + number)
        dropped += answer[2]
    found = await check_places(store, SHARDS)
    assert [found[id_].place for id_ in ids] == ["dead", "dead", PARKED, PARKED]
    assert dropped == 2
    oldest = found[ids[0]].record
    assert oldest == Record(State.DEAD, 2, 503, NOW_MS + 2, "parked_full")
    assert await store.execute("ZRANGE", keys.dead(1), 0, -1) == [
        ids[number].encode() for number in (0, 1)
    ]


async def test_a_list_filled_in_one_batch_loses_none_of_its_deliveries(store: Store) -> None:
    on = await scene(store, parked_max=1)
    other = await on.service.post()
    await fan_out(store, other, [BOB])
    ids = [f"{event.post}-1-0-{on.endpoints[0].id}" for event in (on.event, other)]
    # Parked first by a clock that has been set back since: the newer ones are the ones to go.
    await on.sender.record([Result(ids[0], State.PARKED_PENDING, 0)], now_ms=NOW_MS + 9_000)
    await on.sender.record([Result(ids[1], State.PARKED_PENDING, 0)], now_ms=NOW_MS)
    found = await check_places(store, SHARDS)
    assert sorted(found[id_].place for id_ in ids) == ["dead", PARKED]


async def test_what_would_be_parked_for_a_deleted_endpoint_is_suppressed(store: Store) -> None:
    on = await scene(store, endpoints=2)
    await on.service.endpoints.delete(on.endpoints[0].id)
    parked = [
        Result(on.id(number), State.PARKED_RETRYING, 2, status=503, error="parked", base=1)
        for number in range(2)
    ]
    await on.sender.record(parked)
    assert await on.places() == ["suppressed", PARKED]
    assert await on.record() == Record(State.SUPPRESSED, 2, 503, NOW_MS, "no_endpoint")
    assert await tally(on) == {"s": 1, "r": 1}


async def test_a_parked_list_ends_when_nothing_was_parked_for_so_long_as_posts_are_kept(
    store: Store,
) -> None:
    on = await scene(store)
    key = keys.parked(1, on.endpoints[0].id)
    await on.sender.record([Result(on.id(), State.PARKED_PENDING, 0)])
    await store.execute("EXPIRE", key, 10)
    await on.sender.record([Result(on.id(), State.PARKED_PENDING, 0)])
    assert await store.execute("TTL", key) > RETENTION_S - 5


async def test_what_is_parked_for_an_endpoint_that_is_active_wakes_it(store: Store) -> None:
    """Its sender has not heard yet that it was brought back, and nobody else will set it free."""
    on = await scene(store, endpoints=2)
    (active, ailing) = (endpoint.id for endpoint in on.endpoints)
    await on.sender.record(health=[(ailing, ["state", "disabled"], 0)])
    parked = [Result(on.id(number), State.PARKED_PENDING, 0) for number in range(2)]
    later = [(endpoint, [], NOW_MS + 60_000) for endpoint in (active, ailing)]
    answer = await on.sender.record(parked, health=later)
    assert int(answer[5]) == NOW_MS
    assert await store.execute("ZSCORE", keys.probes(1), active) == b"%d" % NOW_MS
    assert await store.execute("ZSCORE", keys.probes(1), ailing) == b"%d" % (NOW_MS + 60_000)


async def test_an_endpoint_that_opens_with_what_is_parked_for_it_is_not_woken(store: Store) -> None:
    on = await scene(store)
    id_ = on.endpoints[0].id
    answer = await on.sender.record(
        [Result(on.id(), State.PARKED_PENDING, 0)],
        health=[(id_, ["state", "open"], NOW_MS + 60_000)],
    )
    assert answer[5] == b""
    assert await store.execute("ZSCORE", keys.probes(1), id_) == b"%d" % (NOW_MS + 60_000)


# Health


async def test_health_and_the_time_to_look_after_an_endpoint_are_written(store: Store) -> None:
    on = await scene(store)
    id_ = on.endpoints[0].id
    await on.sender.record(health=[(id_, ["consecutive_failures", 3], 77)])
    found = await on.service.endpoints.get(id_)
    assert found is not None
    assert found.consecutive_failures == 3
    assert await store.execute("ZSCORE", keys.probes(1), id_) == b"77"
    await on.sender.record(health=[(id_, [], -1)])
    assert await store.execute("ZSCORE", keys.probes(1), id_) == b"77"
    await on.sender.record(health=[(id_, [], 0)])
    assert await store.execute("ZSCORE", keys.probes(1), id_) is None


async def test_health_does_not_bring_a_deleted_endpoint_back(store: Store) -> None:
    on = await scene(store)
    id_ = on.endpoints[0].id
    await on.service.endpoints.delete(id_)
    await on.sender.record(health=[(id_, ["state", "open"], 77)])
    assert await on.service.endpoints.get(id_) is None
    assert await store.execute("ZCARD", keys.probes(1)) == 0


# Retention and room


async def test_an_outcome_after_the_ledgers_end_leaves_nothing_without_an_end(
    store: Store,
) -> None:
    on = await scene(store)
    names = [keys.roster(1, on.event.post, 1, 0), keys.tally(1, on.event.post)]
    await store.execute("DEL", *names)
    await on.sender.record([Result(on.id(), State.DELIVERED, log=b"entry")], done=on.entries)
    await check_keys(store)


async def test_a_record_lasts_as_long_as_from_its_first_outcome(store: Store) -> None:
    on = await scene(store, endpoints=2)
    key = keys.outcomes(1, on.event.post, 1, 0)
    await on.sender.record([Result(on.id(0), State.DELIVERED)])
    await store.execute("EXPIRE", key, 10)
    await on.sender.record([Result(on.id(1), State.DELIVERED)])
    assert await store.execute("TTL", key) <= 10


async def test_in_a_full_store_work_in_hand_is_put_down_and_nothing_is_taken_on(
    single_store: Store,
) -> None:
    store = single_store
    on = await scene(store, endpoints=2)
    (used,) = await store.broadcast("INFO", "memory")
    bytes_used = int(used.split(b"used_memory:")[1].split()[0])
    await store.broadcast("CONFIG", "SET", "maxmemory", bytes_used // 2)
    try:
        with pytest.raises(StoreFull):
            await on.service.post()
        with pytest.raises(StoreFull):
            await fan_out(store, Event(on.event.post, 2, EventKind.UPDATED), [BOB])
        retry = Result(on.id(1), State.RETRYING, due_ms=NOW_MS)
        await on.sender.record([Result(on.id(0), State.DELIVERED), retry], done=on.entries)
        assert (await on.sender.move_due(NOW_MS))[0] == 1
        assert await cancel(store, on.event, 0, 1) == 1
        assert await on.service.endpoints.delete(on.endpoints[0].id)
        assert await on.service.inbox.advance({BOB: 1}) == {BOB: 1}
    finally:
        await store.broadcast("CONFIG", "SET", "maxmemory", 0)
    assert await on.places() == ["delivered", "cancelled"]


def test_records_read_as_they_were_written() -> None:
    assert decode_record(b"s2,503,12,no_endpoint") == Record(
        State.SUPPRESSED, 2, 503, 0x12, "no_endpoint"
    )
