"""The ledger: every delivery of a post once, in pages of bounded cost; its state and counts."""

from collections import Counter
from typing import Any

import pytest

from app.domain.attempt import Outcome
from app.domain.delivery import State
from app.domain.post import Event, EventKind
from app.store import dead_letters, keys, ledger, retries
from app.store.client import Store
from app.store.deliveries import Delivery
from app.store.ledger import DeliveryPage
from app.wire import encode_attempt
from tests.store.places import check_places
from tests.store.scene import BOB, scene
from tests.store.service import NOW_MS, SHARDS, Result, Sender, Service, fan_out, finish, users_of

LATER_MS = NOW_MS + 60_000


async def page(
    service: Service,
    post: str,
    state: str | None = None,
    channel: str | None = None,
    after: str | None = None,
    limit: int = 200,
) -> DeliveryPage:
    found = await service.ledger.of_post(
        post, state=state, channel=channel, after=after, limit=limit
    )
    assert found is not None
    return found


async def everything(service: Service, post: str, limit: int = 200, **which: str) -> list[Delivery]:
    """All pages, one after the other."""
    items: list[Delivery] = []
    after: str | None = None
    while True:
        found = await page(service, post, after=after, limit=limit, **which)
        assert len(found.items) <= limit
        items += found.items
        after = found.next
        if after is None:
            return items


async def published(store: Store, *slices: list[str], **limits: Any) -> tuple[Service, Event]:
    """A post fanned out in these slices."""
    service = Service.on(store, **limits)
    event = await service.post()
    for number, users in enumerate(slices):
        await fan_out(store, event, users, slice_=number)
    await finish(store, event, len(slices))
    return service, event


async def test_of_a_post_that_is_not_there_there_is_nothing(store: Store) -> None:
    service = Service.on(store)
    for id_ in ("01k2v3w4x5y6z7a800", "none"):
        found = await service.ledger.of_post(id_, state=None, channel=None, after=None, limit=9)
        assert found is None


async def test_a_post_not_fanned_out_yet_has_no_deliveries(store: Store) -> None:
    service = Service.on(store)
    event = await service.post()
    found = await page(service, event.post)
    assert (found.items, found.next, found.fanned_out) == ([], None, False)
    assert found.counts == dict.fromkeys(ledger.STATES, 0)


async def test_everybody_has_a_socket_delivery_and_one_for_each_endpoint(store: Store) -> None:
    service = Service.on(store)
    endpoints = [await service.endpoint(BOB) for _ in range(2)]
    (ann,) = users_of(0, 1)
    event = await service.post()
    await fan_out(store, event, [ann, BOB])
    await finish(store, event, 1)
    found = await page(service, event.post)
    assert found.fanned_out
    assert found.next is None
    assert [(d.id, d.recipient, d.channel, d.endpoint) for d in found.items] == [
        (f"{event.post}-1-0-0-0", ann, "socket", None),
        (f"{event.post}-1-0-1-0", BOB, "socket", None),
        *((f"{event.post}-1-0-{e.id}", BOB, "webhook", e.id) for e in endpoints),
    ]
    assert {(d.state, d.attempts, d.parked, d.offset, d.version) for d in found.items} == {
        ("pending", 0, False, 1, 1)
    }
    assert found.counts == {**dict.fromkeys(ledger.STATES, 0), "pending": 4}


async def test_a_delivery_nothing_was_written_about_was_updated_when_it_was_fanned_out(
    store: Store,
) -> None:
    on = await scene(store)
    seconds, _ = await store.execute("TIME")
    await finish(store, on.event, 1)
    found = await page(on.service, on.event.post)
    for delivery in found.items:
        assert abs(delivery.updated_at_ms / 1000 - int(seconds)) < 5
    await on.service.inbox.advance({BOB: 1})
    again = await page(on.service, on.event.post, channel="socket")
    assert again.items[0].state == "delivered"
    assert again.items[0].updated_at_ms == found.items[0].updated_at_ms


async def test_a_webhook_delivery_tells_what_is_recorded_of_it(store: Store) -> None:
    on = await scene(store, endpoints=3)
    await finish(store, on.event, 1)
    await on.sender.record(
        [
            Result(on.id(0), State.DELIVERED, 2, 204),
            Result(on.id(1), State.RETRYING, 1, 503, "http_5xx", due_ms=LATER_MS),
            Result(on.id(2), State.PARKED_RETRYING, 3, 0, "timeout"),
        ]
    )
    found = await page(on.service, on.event.post, channel="webhook")
    shown = [
        (d.state, d.attempts, d.last_status, d.last_error, d.next_attempt_at_ms, d.parked)
        for d in found.items
    ]
    assert shown == [
        ("delivered", 2, 204, None, None, False),
        ("retrying", 1, 503, "http_5xx", LATER_MS, False),
        ("retrying", 3, None, "timeout", None, True),
    ]
    assert {d.updated_at_ms for d in found.items} == {NOW_MS}


async def test_a_socket_delivery_is_delivered_when_the_cursor_has_passed_it(
    store: Store,
) -> None:
    service, first = await published(store, [BOB])
    second = await service.post()
    await fan_out(store, second, [BOB])
    await finish(store, second, 1)
    await service.inbox.note_repushes({BOB: (2, 3)})
    await service.inbox.advance({BOB: 1})
    await service.inbox.note_repushes({BOB: (2, 3)})
    by_post = {}
    for event in (first, second):
        (row,) = (await page(service, event.post)).items
        by_post[event] = (row.state, row.attempts, row.offset)
    assert by_post == {first: ("delivered", 1, 1), second: ("pending", 3, 2)}


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 200])
async def test_pages_show_every_delivery_once_in_order(store: Store, limit: int) -> None:
    service = Service.on(store)
    for shard in range(SHARDS):
        for user in users_of(shard, 2):
            await service.endpoint(user)
    slices = [[user for s in range(SHARDS) for user in users_of(s, 4)[:2]], users_of(2, 4)[2:]]
    event = await service.post()
    for number, users in enumerate(slices):
        await fan_out(store, event, users, slice_=number)
    await finish(store, event, 2)
    at_once = (await page(service, event.post)).items
    assert len(at_once) == 8 * 2 + 2
    assert await everything(service, event.post, limit) == at_once


async def test_a_page_shows_what_it_is_asked_for(store: Store) -> None:
    on = await scene(store, endpoints=4)
    await finish(store, on.event, 1)
    await on.sender.record(
        [
            Result(on.id(0), State.DELIVERED),
            Result(on.id(1), State.DEAD),
            Result(on.id(2), State.PARKED_PENDING, 0),
        ]
    )
    every = await everything(on.service, on.event.post)
    for state in (None, *ledger.STATES):
        for channel in (None, "webhook", "socket"):
            which = {"state": state, "channel": channel}
            found = await everything(on.service, on.event.post, 2, **which)
            assert found == [
                row
                for row in every
                if state in (None, row.state) and channel in (None, row.channel)
            ]


async def test_a_bad_position_is_refused_and_a_far_one_is_the_end(store: Store) -> None:
    service, event = await published(store, [BOB])
    for after in ("", ".", "1", "1.", "a.b", "-1.0", "1.0.0", "1.-1", "9" * 5_000 + ".0"):
        with pytest.raises(ValueError, match=r"position|digits"):
            await page(service, event.post, after=after)
    for after in ("99.0", "999999999999.5", "1.99"):
        found = await page(service, event.post, after=after)
        assert (found.items, found.next) == ([], None)


async def test_versions_of_a_post_follow_each_other(store: Store) -> None:
    service, event = await published(store, [BOB])
    await service.posts.edit(event.post, b"{}", NOW_MS)
    edit = Event(event.post, 2, EventKind.UPDATED)
    assert not (await page(service, event.post)).fanned_out
    await fan_out(store, edit, [BOB])
    await store.execute("HSET", keys.post(_shard(event), event.post), "fanned:2", "done")
    found = await page(service, event.post)
    assert found.fanned_out
    assert [(row.version, row.offset) for row in found.items] == [(1, 1), (2, 2)]
    await service.inbox.advance({BOB: 1})
    counts = (await page(service, event.post)).counts
    assert (counts["delivered"], counts["pending"]) == (1, 1)


def _shard(event: Event) -> int:
    return ledger.shard_of_id(event.post)


async def test_counts_are_of_both_channels_and_come_to_all_deliveries(store: Store) -> None:
    on = await scene(store, endpoints=8)
    await finish(store, on.event, 1)
    states = [state for state in State if state is not State.PENDING]
    await on.sender.record(
        [Result(on.id(number), state, due_ms=1) for number, state in enumerate(states)]
    )
    found = await page(on.service, on.event.post, limit=1)
    every = await everything(on.service, on.event.post)
    assert found.counts == {**dict.fromkeys(ledger.STATES, 0), **Counter(r.state for r in every)}
    assert sum(found.counts.values()) == 9
    await on.service.inbox.advance({BOB: 1})
    after = (await page(on.service, on.event.post)).counts
    assert after == {
        **found.counts,
        "delivered": found.counts["delivered"] + 1,
        "pending": found.counts["pending"] - 1,
    }


class Counting:
    """Counts the commands that go to a store."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commands = 0
        self._patch(store, monkeypatch, "run_many")
        self._patch(store, monkeypatch, "call_many")

    def _patch(self, store: Store, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        real = getattr(store, name)

        async def run(commands: Any, **options: Any) -> list[Any]:
            listed = list(commands)
            self.commands += len(listed)
            return await real(listed, **options)

        monkeypatch.setattr(store, name, run)


async def test_a_post_to_thousands_is_read_page_by_page_at_a_bounded_cost(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, size = 30, 100
    users = [f"u{index}" for index in range(number * size)]
    service, event = await published(
        store, *(users[start : start + size] for start in range(0, len(users), size))
    )
    await service.inbox.advance(dict.fromkeys(users[:700], 1))
    counting = Counting(store, monkeypatch)
    found = await page(service, event.post, limit=50)
    assert len(found.items) == 50
    assert (found.counts["delivered"], found.counts["pending"]) == (700, number * size - 700)
    # Two reads for each roster of a part and two more for its cursors, and one for each count.
    assert counting.commands <= 4 * ledger.READ_MAX + number * SHARDS + SHARDS
    counting.commands = 0
    rare = await page(service, event.post, state="dead")
    assert rare.items == []
    assert rare.next == f"{ledger.SCAN_MAX}.0"
    assert counting.commands <= 4 * ledger.SCAN_MAX + number * SHARDS + SHARDS
    every = await everything(service, event.post)
    assert sorted(row.recipient for row in every) == sorted(users)
    delivered = await everything(service, event.post, state="delivered")
    assert sorted(row.recipient for row in delivered) == sorted(users[:700])


async def test_counts_of_a_very_large_post_are_kept_for_some_seconds(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "COUNTED_ANEW_MAX", SHARDS)
    time = [0.0]
    service, event = await published(store, [BOB], users_of(2, 1), clock=lambda: time[0])
    assert (await page(service, event.post)).counts["delivered"] == 0
    await service.inbox.advance({BOB: 1})
    assert (await page(service, event.post)).counts["delivered"] == 0
    assert (await page(Service.on(store), event.post)).counts["delivered"] == 1
    time[0] = ledger.COUNTS_AGE_MAX_S + 0.1
    assert (await page(service, event.post)).counts["delivered"] == 1


async def test_counts_kept_are_bounded(
    single_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "COUNTED_ANEW_MAX", 0)
    monkeypatch.setattr(ledger, "COUNTS_KEPT_MAX", 2)
    service = Service.on(single_store)
    for _ in range(4):
        event = await service.post()
        await fan_out(single_store, event, [BOB])
        await finish(single_store, event, 1)
        await page(service, event.post)
    assert len(service.ledger._counted) == 2


# One delivery


async def test_a_webhook_delivery_is_found_with_its_own_attempts_the_oldest_first(
    store: Store,
) -> None:
    on = await scene(store, log_max=50)
    other = await on.service.post()
    await fan_out(store, other, [BOB])
    others = f"{other.post}-1-0-{on.endpoints[0].id}"
    for attempt in (1, 2):
        for id_ in (on.id(), others):
            log = encode_attempt(id_, attempt, NOW_MS, Outcome(503, None, 1.0))
            result = Result(id_, State.RETRYING, attempt, 503, "http_5xx", LATER_MS, log=log)
            await on.sender.record([result])
    found = await on.service.ledger.get(on.id())
    assert found is not None
    delivery, log = found
    assert (delivery.id, delivery.recipient, delivery.state) == (on.id(), BOB, "retrying")
    assert [(entry.delivery, entry.attempt) for entry in log] == [(on.id(), 1), (on.id(), 2)]


async def test_a_socket_delivery_is_found_by_its_place(store: Store) -> None:
    service, event = await published(store, users_of(1, 2))
    found = await service.ledger.get(f"{event.post}-1-0-1-1")
    assert found is not None
    assert found[0].recipient == users_of(1, 2)[1]
    assert found[1] == []


async def test_what_is_no_delivery_is_not_found_and_not_retried(store: Store) -> None:
    on = await scene(store)
    post, endpoint = on.event.post, on.endpoints[0].id
    ids = [
        *("", "none", post, f"{post}-1-0", f"{post}-1-0-1-9", f"{post}-1-0-9-0"),
        *(f"{post}-2-0-{endpoint}", f"{post}-1-1-{endpoint}", f"{post}-1-0-0000000001"),
        *(f"{post}-1-0-00000000zz", f"{post}-01-0-{endpoint}", f"{post}-1-0-1-00"),
    ]
    for id_ in ids:
        assert await on.service.ledger.get(id_) is None
        assert not await on.service.ledger.retry(id_, NOW_MS)
    await store.execute("DEL", keys.roster(1, post, 1, 0))
    assert await on.service.ledger.get(on.id()) is None


@pytest.mark.parametrize("state", [State.DELIVERED, State.DEAD, State.PARKED_RETRYING])
async def test_a_webhook_delivery_is_retried_whatever_its_state(store: Store, state: State) -> None:
    on = await scene(store)
    await on.sender.record([Result(on.id(), state)], done=on.entries)
    assert await on.service.ledger.retry(on.id(), LATER_MS)
    assert await on.places() == ["redeliveries"]


# Dead letters


async def many_dead(store: Store, number: int) -> tuple[Service, list[str]]:
    """Dead letters of two endpoints of Bob's and one of another shard, the oldest first."""
    service = Service.on(store)
    (eve,) = users_of(2, 1)
    endpoints = [await service.endpoint(user) for user in (BOB, BOB, eve)]
    senders = {shard: await Sender(store, shard).take() for shard in (1, 2)}
    ids: list[str] = []
    for index in range(number):
        event = await service.post()
        await fan_out(store, event, [BOB, eve])
        for endpoint in endpoints:
            ids.append(f"{event.post}-1-0-{endpoint.id}")
            at_ms = NOW_MS + index // 2  # some at the same time
            await senders[endpoint.shard].record(
                [Result(ids[-1], State.DEAD, 9, 500, "http_5xx", at_ms=at_ms)], now_ms=at_ms
            )
    for shard, sender in senders.items():
        done = [id_ for id_, _ in await sender.read()]
        await senders[shard].record(done=done)
    return service, ids


async def all_dead(
    service: Service, limit: int, endpoint: str | None = None
) -> tuple[list[str], int]:
    found: list[str] = []
    after: str | None = None
    pages = 0
    while True:
        rows, after = await service.ledger.dead_letters(after, limit, endpoint)
        pages += 1
        assert len(rows) <= limit
        assert all(row.state == "dead" for row in rows)
        found += [row.id for row in rows]
        if after is None:
            return found, pages


@pytest.mark.parametrize("limit", [1, 4, 200])
async def test_dead_letters_come_the_newest_first_each_once(store: Store, limit: int) -> None:
    service, ids = await many_dead(store, 5)
    found, _ = await all_dead(service, limit)
    assert sorted(found) == sorted(ids)
    times = {id_: NOW_MS + index // 3 // 2 for index, id_ in enumerate(ids)}
    assert [times[id_] for id_ in found] == sorted(times.values(), reverse=True)


async def test_dead_letters_of_one_endpoint_are_found_among_all(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, ids = await many_dead(store, 6)
    endpoint = ids[0].rpartition("-")[2]
    expected = [id_ for id_ in ids if id_.endswith(endpoint)]
    found, pages = await all_dead(service, 200, endpoint)
    assert (sorted(found), pages) == (sorted(expected), 1)
    # However many there are, a page looks at so many and no more, and says where to go on.
    monkeypatch.setattr(dead_letters, "READ_MAX", 4)
    monkeypatch.setattr(dead_letters, "SCAN_MAX", 1)
    found, pages = await all_dead(service, 200, endpoint)
    assert sorted(found) == sorted(expected)
    assert pages > 2


async def test_dead_letters_go_on_where_one_stood_that_has_been_replayed_since(
    store: Store,
) -> None:
    service, ids = await many_dead(store, 6)
    every, _ = await all_dead(service, 200)
    for number, id_ in enumerate(every):
        _, after = await service.ledger.dead_letters(None, number + 1)
        await store.execute("ZREM", keys.dead(_shard_of(id_)), id_)
        rest, _ = await service.ledger.dead_letters(after, 200) if after else ([], None)
        assert [row.id for row in rest] == every[number + 1 :]
        score = NOW_MS + ids.index(id_) // 3 // 2
        await store.execute("ZADD", keys.dead(_shard_of(id_)), score, id_)


def _shard_of(delivery: str) -> int:
    return ledger.shard_of_id(delivery)


async def test_a_dead_letter_the_ledger_has_forgotten_is_left_out(store: Store) -> None:
    service, ids = await many_dead(store, 2)
    post = ids[0].partition("-")[0]
    await store.execute("DEL", keys.roster(1, post, 1, 0))
    found, _ = await all_dead(service, 200)
    assert sorted(found) == sorted(id_ for id_ in ids if id_ not in ids[:2])


async def test_a_bad_position_among_dead_letters_is_refused(store: Store) -> None:
    service, ids = await many_dead(store, 1)
    for after in ("", "1", "x." + ids[0], "1.", "1.none", f"1.{ids[0]}x"):
        with pytest.raises(ValueError, match="position"):
            await service.ledger.dead_letters(after, 10)


# Replaying


async def replayed(store: Store) -> set[str]:
    places = await check_places(store, SHARDS)
    return {id_ for id_, found in places.items() if found.place == "retries"}


@pytest.mark.parametrize("move_max", [1, 2, 500])
async def test_dead_letters_are_replayed_all_or_of_one_endpoint_or_since_a_time(
    store: Store, monkeypatch: pytest.MonkeyPatch, move_max: int
) -> None:
    monkeypatch.setattr(retries, "MOVE_MAX", move_max)
    service, ids = await many_dead(store, 5)
    one = {id_ for id_ in ids if id_.endswith(ids[1].rpartition("-")[2])}
    late = set(ids[4 * 3 :])

    async def replay(endpoint: str | None, since_ms: int | None) -> int:
        return await service.ledger.replay(
            endpoint=endpoint, since_ms=since_ms, now_ms=LATER_MS, gap_ms=20
        )

    assert await replay(ids[1].rpartition("-")[2], NOW_MS + 2) == 1
    assert await replayed(store) == one & late
    assert await replay(ids[1].rpartition("-")[2], None) == 4
    assert await replayed(store) == one
    assert await replay(None, NOW_MS + 2) == 2
    assert await replayed(store) == one | late
    assert await replay(None, None) == len(ids) - 7
    assert await replayed(store) == set(ids)
    assert await replay(None, None) == 0


async def test_a_replay_is_paced(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "MOVE_MAX", 2)
    service, _ = await many_dead(store, 4)
    await service.ledger.replay(endpoint=None, since_ms=None, now_ms=LATER_MS, gap_ms=20)
    raw = await store.execute("ZRANGE", keys.retries(1), 0, -1, "WITHSCORES")
    assert [int(score) for score in raw[1::2]] == [LATER_MS + 20 * n for n in range(8)]


async def test_what_dies_again_while_it_is_replayed_is_not_replayed_twice(store: Store) -> None:
    on = await scene(store)
    await on.sender.record([Result(on.id(), State.DEAD)], now_ms=LATER_MS + 1)
    replay = on.service.ledger.replay(endpoint=None, since_ms=None, now_ms=LATER_MS, gap_ms=20)
    assert await replay == 0


@pytest.mark.parametrize("move_max", [1, 2, 500])
async def test_recovering_takes_what_was_parked_or_died_in_a_time(
    store: Store, monkeypatch: pytest.MonkeyPatch, move_max: int
) -> None:
    monkeypatch.setattr(retries, "MOVE_MAX", move_max)
    on = await scene(store, endpoints=2)
    endpoint = on.endpoints[0].id
    events = [on.event]
    for _ in range(5):
        events.append(await on.service.post())
        await fan_out(store, events[-1], [BOB])
    ids = [f"{event.post}-1-0-{endpoint}" for event in events]
    states = [State.PARKED_PENDING, State.DEAD, State.PARKED_RETRYING, State.DELIVERED]
    for number, id_ in enumerate(ids):
        result = Result(id_, states[number % 4], due_ms=LATER_MS)
        await on.sender.record([result], now_ms=NOW_MS + number)
    await on.sender.record([Result(on.id(1), State.DEAD)], now_ms=NOW_MS + 2)
    recovered = await on.service.ledger.recover(endpoint, NOW_MS + 1, NOW_MS + 4, LATER_MS, 20)
    assert recovered == 3  # dead, parked, parked; one was delivered
    assert await replayed(store) == {ids[1], ids[2], ids[4]}


async def test_recovering_passes_over_what_the_ledger_has_forgotten(store: Store) -> None:
    on = await scene(store, endpoints=2)
    for number in range(2):
        await on.sender.record([Result(on.id(number), State.PARKED_PENDING, 0)])
    await store.execute("DEL", keys.outcomes(1, on.event.post, 1, 0))
    recover = on.service.ledger.recover(on.endpoints[0].id, 0, LATER_MS, LATER_MS, 20)
    assert await recover == 0
    assert not await store.execute("EXISTS", keys.parked(1, on.endpoints[0].id))
    assert await store.execute("EXISTS", keys.parked(1, on.endpoints[1].id))
