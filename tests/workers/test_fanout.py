"""Fan-out of one author shard: slices, turns, takeovers, whatever the store does."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.clock import now_ms
from app.errors import LeaseLost
from app.store import canary, keys
from app.store.graph import EdgeKind
from app.tracing import Tracer
from app.wire import decode_event, encode_msgpack, stream_fields
from tests.wait import wait_until
from tests.workers.faulty import Died, FaultyStore
from tests.workers.rig import SHARDS, Rig, users_of
from workers.fanout import FanoutShard
from workers.intake import parse_slice
from workers.slices import LONG, FanoutLimits, FanoutStats
from workers.watcher import StreamWatcher, WatcherStats

ANN, BEN = users_of(0, 2)
TOKEN = b"one"


def fanout_shard(
    store: Any, watcher: StreamWatcher, tracer: Tracer | None = None, **limits: int
) -> FanoutShard:
    defaults = {
        **{"slice_max": 500, "turns_max": 32, "events_max": 100},
        **{"inbox_max": 100, "inbox_keep": 80},
    }
    return FanoutShard(
        store,
        watcher,
        shard=0,
        shards=SHARDS,
        token=TOKEN,
        limits=FanoutLimits(
            retention_s=3_600,
            sockets_backlog_max=100,
            **{**defaults, **limits},
        ),
        stats=FanoutStats(),
        tracer=tracer,
    )


@asynccontextmanager
async def fanning_out(
    rig: Rig, through: Any = None, tracer: Tracer | None = None, **limits: int
) -> AsyncIterator[tuple[FanoutShard, asyncio.Task[None]]]:
    """The owner of shard 0 at work; told to stop at the end. What has ended it is raised."""
    store = through or rig.store
    await rig.store.execute("SET", keys.lease(0, keys.FANOUT), TOKEN)
    watcher = StreamWatcher(store, WatcherStats())
    shard = fanout_shard(store, watcher, tracer, **limits)
    watching = asyncio.create_task(watcher.run())
    run = asyncio.create_task(shard.run())
    try:
        yield shard, run
        shard.stop()
        async with asyncio.timeout(5):
            await run
    finally:
        for task in (run, watching):
            task.cancel()
        await asyncio.gather(run, watching, return_exceptions=True)


async def fanned_out(rig: Rig, *ids: str) -> None:
    async def are_done() -> bool:
        return all([(await rig.posts.progress(id_)).fanned_out for id_ in ids])

    await wait_until(are_done)


async def deliveries(rig: Rig, shard: int = 1) -> list[tuple[str, int]]:
    """Post and slice of what was fanned out to a shard's webhooks, in order."""
    entries = await rig.store.execute("XRANGE", keys.deliveries(shard), "-", "+")
    fields = [stream_fields(raw) for _, raw in entries]
    return [(decode_event(f[b"e"]).post, int(f[b"s"])) for f in fields]


# Slices and turns


@pytest.mark.parametrize("friends", [0, 1, 3, 4, 5, 8])
async def test_every_slice_counts_however_the_audience_divides(single_rig: Rig, friends: int):
    rig, names = single_rig, [f"friend{n}" for n in range(friends)]
    await rig.befriend(ANN, *names)
    async with fanning_out(rig, slice_max=4):
        post = await rig.post(ANN)
        await fanned_out(rig, post.id)
        progress = await rig.posts.progress(post.id)
        await rig.posts.edit(post.id, b"{}", now_ms())
        await rig.posts.delete(post.id, now_ms())
        await fanned_out(rig, post.id)
    assert progress is not None
    assert progress.slices == -(-friends // 4)
    assert await rig.inboxes(names) == {name: ["c1", "u2", "d3"] for name in names}


async def test_friends_and_followers_each_get_it_once_but_for_those_blocked_either_way(
    single_rig: Rig,
):
    rig = single_rig
    await rig.befriend(ANN, "both", "friend", "blocked", "blocker")
    for follower in ("both", "follower"):
        await rig.graph.add(EdgeKind.FOLLOW, follower, ANN)
    await rig.graph.add(EdgeKind.BLOCK, ANN, "blocked")
    await rig.graph.add(EdgeKind.BLOCK, "blocker", ANN)
    async with fanning_out(rig):
        post = await rig.post(ANN)
        await fanned_out(rig, post.id)
    got = {"both": ["c1"], "friend": ["c1"], "follower": ["c1"], "blocked": [], "blocker": []}
    assert await rig.inboxes(list(got)) == got


async def test_two_authors_take_turns_slice_by_slice(single_rig: Rig):
    """A post to 1,000 that came first delays one to 100 by one slice, not by ten."""
    rig = single_rig
    crowd = users_of(1, 1_000)
    for start in range(0, len(crowd), 100):
        edges = [(EdgeKind.FRIEND, ANN, user) for user in crowd[start : start + 100]]
        await rig.graph.add_many(edges)
    await rig.befriend(BEN, *crowd[:100])
    await rig.register(crowd[0], "http://127.0.0.1:9/")
    for user in crowd[1::40]:
        await rig.register(user, "http://127.0.0.1:9/")
    long, short = await rig.post(ANN), await rig.post(BEN)
    async with fanning_out(rig, slice_max=100):
        await fanned_out(rig, long.id, short.id)
    order = await deliveries(rig)
    assert [slice_ for post, slice_ in order if post == long.id] == list(range(10))
    assert order[:3] == [(long.id, 0), (short.id, 0), (long.id, 1)]


async def test_a_long_post_pauses_between_its_slices_and_others_do_not_wait_for_it(
    single_rig: Rig, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("workers.fanout.LONG_GAP_S", 60)
    rig = single_rig
    crowd = users_of(1, 2 * (LONG + 20))
    await rig.befriend(ANN, *crowd)
    await rig.befriend(BEN, crowd[0])
    await rig.post(ANN)
    async with fanning_out(rig, slice_max=2):
        for posts in range(3):
            await wait_until(lambda: has_slices(rig, crowd, LONG))
            await asyncio.sleep(0.05)
            # Whatever comes ends the pause before a slice or two.
            assert not await has_slices(rig, crowd, LONG + 5 * posts + 5)
            await fanned_out(rig, (await rig.post(BEN)).id)


async def has_slices(rig: Rig, crowd: list[str], count: int) -> bool:
    """Whether so many slices of two are in their inboxes; who gets another post has the long one
    already."""
    reached = [user for user in crowd if (await rig.inbox.read(user, 0, 1)).events]
    return len(reached) >= 2 * count


async def test_the_deliveries_of_a_large_event_are_marked(
    single_rig: Rig, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("workers.slices.LARGE", 3)
    rig = single_rig
    crowd = users_of(1, 4)
    for user in crowd:
        await rig.register(user, "http://127.0.0.1:9/")
    await rig.befriend(ANN, *crowd)
    await rig.befriend(BEN, *crowd[:3])
    large, small = await rig.post(ANN), await rig.post(BEN)
    async with fanning_out(rig, slice_max=2):
        await fanned_out(rig, large.id, small.id)
    entries = await rig.store.execute("XRANGE", keys.deliveries(1), "-", "+")
    slices = [parse_slice(id_, stream_fields(raw)) for id_, raw in entries]
    assert {slice_.event.post: slice_.is_large for slice_ in slices} == {
        large.id: True,
        small.id: False,
    }


async def test_an_author_with_many_posts_lets_another_s_only_one_go_second(single_rig: Rig):
    rig = single_rig
    (reader,) = users_of(1, 1)
    await rig.register(reader, "http://127.0.0.1:9/")
    for author in (ANN, BEN):
        await rig.befriend(author, reader)
    many = [await rig.post(ANN) for _ in range(20)]
    one = await rig.post(BEN)
    async with fanning_out(rig, turns_max=1):
        await fanned_out(rig, one.id, *(post.id for post in many))
    order = [post for post, _ in await deliveries(rig)]
    assert order[1] == one.id
    assert [post for post in order if post != one.id] == [post.id for post in many]


async def test_a_post_that_is_deleted_on_its_way_goes_no_further_and_nobody_keeps_it(
    single_rig: Rig,
):
    rig, names = single_rig, users_of(1, 6)
    await rig.befriend(ANN, *names)
    store = FaultyStore(rig.store)
    store.fail("fan_out", nth=2, ran=True)  # the worker notices nothing: it does the round again
    gate = store.hold("fan_out")
    async with fanning_out(rig, store, slice_max=2):
        post = await rig.post(ANN)
        await wait_until(lambda: "fan_out" in store.calls)
        await rig.posts.delete(post.id, now_ms())
        gate.set()
        await fanned_out(rig, post.id)
    boxes = await rig.inboxes(names)
    got = [events for events in boxes.values() if events]
    assert got == [["c1", "d2"]] * 2


async def test_whoever_has_blocked_the_author_since_sees_no_edit_but_the_deletion(
    single_rig: Rig,
):
    rig = single_rig
    await rig.befriend(ANN, "bob", "cid")
    async with fanning_out(rig):
        post = await rig.post(ANN)
        await fanned_out(rig, post.id)
        await rig.graph.add(EdgeKind.BLOCK, "cid", ANN)
        await rig.posts.edit(post.id, b"{}", now_ms())
        await rig.posts.delete(post.id, now_ms())
        await fanned_out(rig, post.id)
    got = {"bob": ["c1", "u2", "d3"], "cid": ["c1", "d3"]}
    assert await rig.inboxes(["bob", "cid"]) == got


# Bounds


async def test_no_more_events_are_held_than_there_may_be(single_rig: Rig):
    rig, store = single_rig, FaultyStore(single_rig.store)
    await rig.befriend(ANN, "bob")
    posts = [await rig.post(ANN) for _ in range(10)]
    gate = store.hold("next_slice")
    async with fanning_out(rig, store, events_max=3) as (shard, _):
        await wait_until(lambda: "next_slice" in store.calls)
        pending = await rig.store.execute("XPENDING", keys.posts(0), keys.GROUP)
        assert pending[0] == 3
        gate.set()
        await fanned_out(rig, *(post.id for post in posts))
    assert await rig.inboxes(["bob"]) == {"bob": ["c1"] * 10}
    assert shard._stats.paused > 0


async def test_an_inbox_that_is_full_loses_its_oldest_and_that_is_counted(single_rig: Rig):
    rig = single_rig
    await rig.befriend(ANN, "bob")
    async with fanning_out(rig, inbox_max=4, inbox_keep=2) as (shard, _):
        for _ in range(5):
            post = await rig.post(ANN)
            await fanned_out(rig, post.id)
        assert shard._stats.trimmed == 1  # at the fourth
    page = await rig.inbox.read("bob", 0, 10)
    assert (page.trimmed, page.head) == (2, 5)


async def test_what_was_told_of_and_not_read_is_read_without_being_told_again(single_rig: Rig):
    rig, store = single_rig, FaultyStore(single_rig.store)
    await rig.befriend(ANN, "bob")
    async with fanning_out(rig, store):
        await fanned_out(rig, (await rig.post(ANN)).id)
        await wait_until(lambda: store.calls.count("read_group") >= 2)
        fault = store.fail("read_group")
        await fanned_out(rig, (await rig.post(ANN)).id)
        assert fault.hits


async def test_an_idle_shard_asks_the_store_for_nothing(single_rig: Rig):
    rig, store = single_rig, FaultyStore(single_rig.store)
    await rig.befriend(ANN, "bob")
    async with fanning_out(rig, store) as (shard, _):
        post = await rig.post(ANN)
        await fanned_out(rig, post.id)
        await wait_until(lambda: shard.pulse.busy_s == 0.0)
        before = [word for word in store.calls if word != "XREAD"]
        for _ in range(100):
            await asyncio.sleep(0)
        assert [word for word in store.calls if word != "XREAD"] == before


# Entries that are no events


async def test_a_canary_is_handed_on_and_an_entry_nobody_can_read_is_dropped_and_told_of(
    single_rig: Rig, caplog: pytest.LogCaptureFixture
):
    rig = single_rig
    await rig.befriend(ANN, "bob")
    await rig.store.execute("XADD", keys.posts(0), "*", "e", "nonsense", "a", ANN)
    await rig.store.execute("XADD", keys.posts(0), "*", "e", b"c1.x", "a", b"\xff")
    await rig.store.execute("XADD", keys.posts(0), "*", "x", "y")
    await canary.emit(rig.store, 0, 12_345)
    with caplog.at_level(logging.ERROR):
        async with fanning_out(rig):
            post = await rig.post(ANN)
            await fanned_out(rig, post.id)
            await wait_until(lambda: rig.store.execute("XLEN", keys.deliveries(0)))
    ((_, raw),) = await rig.store.execute("XRANGE", keys.deliveries(0), "-", "+")
    assert stream_fields(raw) == {b"k": b"12345"}
    assert await rig.store.execute("XLEN", keys.posts(0)) == 0
    assert [r.message for r in caplog.records] == ["entry cannot be read"] * 3


async def test_an_audience_nobody_can_read_is_told_of_and_holds_up_nothing(
    single_rig: Rig, caplog: pytest.LogCaptureFixture
):
    rig = single_rig
    await rig.befriend(ANN, "bob")
    bad, good = await rig.post(ANN), await rig.post(ANN)
    # A map, as the script wants it, with something in it that is no audience.
    packed = encode_msgpack({"only": False, "except": 7})
    await rig.store.execute("HSET", keys.post(0, bad.id), "audience", packed)
    async with fanning_out(rig):
        await fanned_out(rig, bad.id, good.id)
    assert await rig.inboxes(["bob"]) == {"bob": ["c1"]}
    assert [
        record.post for record in caplog.records if record.message == "event cannot be read"
    ] == [bad.id]
    assert await rig.store.execute("XLEN", keys.posts(0)) == 0


async def test_a_roster_nobody_can_read_is_told_of_and_holds_up_nothing(
    single_rig: Rig, caplog: pytest.LogCaptureFixture
):
    rig = single_rig
    (here,), (there,) = users_of(1, 1), users_of(2, 1)
    await rig.befriend(ANN, here, there)
    post = await rig.post(ANN)
    async with fanning_out(rig):
        await fanned_out(rig, post.id)
        await rig.store.execute("SET", keys.roster(1, post.id, 1, 0), b"\xc1")
        await rig.posts.edit(post.id, b"{}", now_ms())
        await wait_until(lambda: has_edit(rig, there))
    assert await rig.inboxes([here, there]) == {here: ["c1"], there: ["c1", "u2"]}
    assert any(record.message == "event cannot be read" for record in caplog.records)


async def has_edit(rig: Rig, user: str) -> bool:
    return (await rig.inboxes([user]))[user] == ["c1", "u2"]


async def test_an_event_of_a_post_that_is_no_longer_kept_is_closed(single_rig: Rig):
    rig = single_rig
    post = await rig.post(ANN)
    await rig.store.execute("DEL", keys.post(0, post.id))
    async with fanning_out(rig):
        await wait_until(lambda: _is_empty(rig))
    assert await rig.store.execute("EXISTS", keys.post(0, post.id)) == 0


async def _is_empty(rig: Rig) -> bool:
    return await rig.store.execute("XLEN", keys.posts(0)) == 0


# Whatever the store does


FAULTS = [
    (word, nth, ran)
    for word in ("read_group", "next_slice", "fan_out", "finish_event")
    for nth in (1, 2)
    for ran in (False, True)
] + [("GET", 1, False), ("ZMSCORE", 1, False), ("cancel_slice", 1, True)]


@pytest.mark.parametrize(("word", "nth", "ran"), FAULTS)
async def test_every_event_comes_to_every_inbox_once_whatever_call_fails(
    single_rig: Rig, word: str, nth: int, ran: bool
):
    rig, store, names = single_rig, FaultyStore(single_rig.store), users_of(1, 5)
    await rig.befriend(ANN, *names)
    fault = store.fail(word, nth=nth, ran=ran)
    async with fanning_out(rig, store, slice_max=2):
        post = await rig.post(ANN)
        await fanned_out(rig, post.id)
        await rig.posts.edit(post.id, b"{}", now_ms())
        await rig.posts.delete(post.id, now_ms())
        await fanned_out(rig, post.id)
    assert fault.hits == 1
    assert await rig.inboxes(names) == {name: ["c1", "u2", "d3"] for name in names}
    assert (await rig.posts.progress(post.id)).slices == 3
    assert await _is_empty(rig)


@pytest.mark.parametrize(("word", "nth", "ran"), FAULTS[:16])
async def test_the_next_owner_goes_on_wherever_the_last_one_died(
    single_rig: Rig, word: str, nth: int, ran: bool
):
    rig, store, names = single_rig, FaultyStore(single_rig.store), users_of(1, 5)
    await rig.befriend(ANN, *names)
    posts = [await rig.post(ANN), await rig.post(BEN), await rig.post(ANN)]
    await rig.befriend(BEN, *names)
    store.fail(word, nth=nth, ran=ran, error=Died())
    with pytest.raises(Died):
        async with fanning_out(rig, store, slice_max=2) as (_, run):
            await wait_until(run.done)
    async with fanning_out(rig, slice_max=2):
        await fanned_out(rig, *(post.id for post in posts))
    assert await rig.inboxes(names) == {name: ["c1"] * 3 for name in names}


async def test_a_store_that_was_away_is_worked_with_again_by_itself(single_rig: Rig):
    rig, store = single_rig, FaultyStore(single_rig.store)
    await rig.befriend(ANN, "bob")
    async with fanning_out(rig, store) as (shard, _):
        await wait_until(lambda: shard.pulse.busy_s == 0.0)
        store.is_away = True
        post = await rig.post(ANN)
        await wait_until(lambda: shard._stats.failures >= 2)
        store.is_away = False
        await fanned_out(rig, post.id)
    assert await rig.inboxes(["bob"]) == {"bob": ["c1"]}


# The lease


@pytest.mark.parametrize("word", ["read_group", "next_slice", "finish_event"])
async def test_a_shard_that_is_another_s_is_given_up_at_once(single_rig: Rig, word: str):
    rig, store = single_rig, FaultyStore(single_rig.store)
    await rig.befriend(ANN, "bob")
    post = await rig.post(ANN)
    gate = store.hold(word)

    async def lose_the_lease() -> None:
        async with fanning_out(rig, store) as (_, run):
            await wait_until(lambda: word in store.calls)
            await rig.store.execute("SET", keys.lease(0, keys.FANOUT), "another")
            gate.set()
            await wait_until(run.done)

    with pytest.raises(LeaseLost):
        await lose_the_lease()
    assert not (await rig.posts.progress(post.id)).fanned_out


async def test_stopping_finishes_the_round_and_leaves_the_rest_to_the_next_owner(
    single_rig: Rig,
):
    rig, store, names = single_rig, FaultyStore(single_rig.store), users_of(1, 6)
    await rig.befriend(ANN, *names)
    post = await rig.post(ANN)
    gate = store.hold("fan_out")
    async with fanning_out(rig, store, slice_max=2) as (shard, _):
        await wait_until(lambda: "fan_out" in store.calls)
        shard.stop()
        gate.set()
    assert store.calls.count("next_slice") == 1
    assert sum(bool(events) for events in (await rig.inboxes(names)).values()) == 2
    assert not (await rig.posts.progress(post.id)).fanned_out
    async with fanning_out(rig, slice_max=2):
        await fanned_out(rig, post.id)
    assert await rig.inboxes(names) == {name: ["c1"] for name in names}
