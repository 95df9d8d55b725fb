"""Inboxes: contiguous offsets through trimming, cursors that only go forward."""

from app.domain.post import Event, EventKind
from app.store import keys
from app.store.client import Store
from app.store.inbox import InboxPage
from tests.store.service import Service, fan_out, users_of

(ANN, ALF), (BOB,) = users_of(0, 2), users_of(1, 1)


def event(number: int) -> Event:
    return Event(f"01k2v3w4x5y6z7{number:02}00", 1, EventKind.CREATED)


async def fill(store: Store, users: list[str], numbers: range, **limits: int) -> None:
    for number in numbers:
        await fan_out(store, event(number), users, **limits)


async def test_an_empty_inbox_has_nothing_and_head_zero(store: Store) -> None:
    page = await Service.on(store).inbox.read(ANN, None, 10)
    assert page == InboxPage(0, 0, 0, 0, ())
    assert page.first_offset == 1


async def test_pages_follow_each_other_without_a_gap(store: Store) -> None:
    inbox = Service.on(store).inbox
    await fill(store, [ANN], range(5))
    assert await inbox.read(ANN, 0, 2) == InboxPage(0, 5, 0, 0, (event(0), event(1)))
    assert await inbox.read(ANN, 2, 2) == InboxPage(0, 5, 0, 2, (event(2), event(3)))
    last = await inbox.read(ANN, 4, 2)
    assert (last.first_offset, last.events) == (5, (event(4),))
    assert (await inbox.read(ANN, 5, 2)).events == ()
    assert (await inbox.read(ANN, 99, 2)).events == ()
    assert (await inbox.read(ANN, 0, 0)).events == ()


async def test_offsets_stay_contiguous_through_every_trim(store: Store) -> None:
    inbox = Service.on(store).inbox
    for number in range(35):
        await fan_out(store, event(number), [ANN], inbox_max=10, inbox_keep=8)
        total = number + 1
        page = await inbox.read(ANN, 0, 100)
        assert page.head == total
        assert page.trimmed + len(page.events) == total
        assert 1 <= len(page.events) < 10
        assert page.events[-1] == event(number)
        assert page.events == tuple(event(n) for n in range(page.trimmed, total))
    assert page.trimmed == 26  # from 10 to 8 at the 10th entry, and at every second from then on
    assert page.first_offset == 27
    assert (await inbox.read(ANN, 30, 2)).events == (event(30), event(31))


async def test_a_thousand_entries_are_cut_to_eight_hundred(store: Store) -> None:
    inbox = Service.on(store).inbox
    await store.execute("RPUSH", keys.inbox(0, ANN), *[b"c1.x"] * 998)
    await fan_out(store, event(1), [ANN], inbox_max=1_000, inbox_keep=800)
    assert (await inbox.read(ANN, 0, 0)).trimmed == 0
    await fan_out(store, event(2), [ANN], inbox_max=1_000, inbox_keep=800)
    page = await inbox.read(ANN, 998, 10)
    assert (page.trimmed, page.head) == (200, 1_000)
    assert page.events == (event(1), event(2))


async def test_keeping_more_than_the_bound_trims_nothing_it_should_keep(store: Store) -> None:
    inbox = Service.on(store).inbox
    await fill(store, [ANN], range(12), inbox_max=5, inbox_keep=8)
    page = await inbox.read(ANN, 0, 100)
    assert (page.trimmed, page.head) == (4, 12)
    assert page.events == tuple(event(n) for n in range(4, 12))


async def test_inboxes_of_one_call_have_offsets_of_their_own(store: Store) -> None:
    inbox = Service.on(store).inbox
    await fill(store, [ANN], range(12))
    await fill(store, [ANN, ALF, BOB], range(12, 13))
    heads = [page.head for page in await inbox.read_many([(u, 0, 0) for u in (ANN, ALF, BOB)])]
    assert heads == [13, 1, 1]


async def test_without_an_offset_reading_starts_at_the_cursor(store: Store) -> None:
    inbox = Service.on(store).inbox
    await fill(store, [ANN], range(5))
    await inbox.advance({ANN: 3})
    page = await inbox.read(ANN, None, 10)
    assert (page.after, page.cursor, page.events) == (3, 3, (event(3), event(4)))


async def test_a_cursor_goes_forward_only_and_not_beyond_the_head(store: Store) -> None:
    inbox = Service.on(store).inbox
    await fill(store, [ANN], range(5))
    assert await inbox.advance({ANN: 3}) == {ANN: 3}
    assert await inbox.advance({ANN: 2}) == {ANN: 3}
    assert await inbox.advance({ANN: 99}) == {ANN: 5}
    assert await inbox.advance({BOB: 4}) == {BOB: 0}
    assert not await store.execute("HEXISTS", keys.cursors(1), BOB)


async def test_the_head_counts_what_was_trimmed(store: Store) -> None:
    inbox = Service.on(store).inbox
    await fill(store, [ANN], range(25))
    assert await inbox.advance({ANN: 99}) == {ANN: 25}


async def test_many_cursors_of_several_shards_move_in_one_call(store: Store) -> None:
    inbox = Service.on(store).inbox
    await fill(store, [ANN, ALF, BOB], range(3))
    assert await inbox.advance({ANN: 1, BOB: 2, ALF: 3}) == {ANN: 1, BOB: 2, ALF: 3}
    assert await inbox.advance({}) == {}


async def test_an_advance_settles_what_was_noted_of_repushes(store: Store) -> None:
    inbox = Service.on(store).inbox
    await fill(store, [ANN, ALF, BOB], range(3))
    await inbox.note_repushes({ANN: (1, 2), ALF: (1, 3), BOB: (2, 4)})
    assert await store.execute("HGETALL", keys.repushes(1)) == [BOB.encode(), b"2:4"]
    await inbox.advance({ANN: 1, BOB: 2})
    assert await store.execute("HGETALL", keys.repushes(0)) == [ALF.encode(), b"1:3"]
    assert await store.execute("HLEN", keys.repushes(1)) == 0
