"""Subscriptions to the real service."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from app.store.embedded import EmbeddedServer
from moments_client import Gap, Moments, Position, PushedPost, Reset, State, subscribe
from moments_client.answers import Token
from tests.clients.python.live import Live, live
from tests.clients.python.taking import offsets, take
from tests.wait import wait_until


@pytest.fixture(scope="module")
def running(single_server: EmbeddedServer) -> Iterator[Live]:
    """With inboxes that are soon full."""
    with live(single_server.url, inbox_max=20, inbox_keep=10) as found:
        yield found


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
async def test_events_come_typed_and_in_order(moments: Moments, encoding: Any):
    reader, author = f"reads-{encoding}", f"writes-{encoding}"
    await moments.graph.befriend(author, reader)
    async with moments.subscribe(reader, encoding=encoding) as events:
        sent = [await moments.posts.create(author, {"n": n}) for n in range(3)]
        got = await take(events, 3)
        await moments.posts.delete(sent[0].id)
        got += await take(events, 1)
    assert offsets(got) == [1, 2, 3, 4]
    assert [one.type for one in got] == ["post.created"] * 3 + ["post.deleted"]
    posts = [one.post for one in got]
    assert all(isinstance(post, PushedPost) for post in posts)
    assert [getattr(post, "data", 0) for post in posts] == [{"n": 0}, {"n": 1}, {"n": 2}, None]
    assert events.state is State.CLOSED


async def test_another_subscription_goes_on_where_one_stopped(moments: Moments):
    await moments.graph.befriend("ann", "bob")
    for number in range(4):
        await moments.posts.create("ann", {"n": number})
    async with moments.subscribe("bob") as events:
        assert offsets(await take(events, 2)) == [1, 2]
        assert events.position is not None
        position = events.position
        assert position.offset == 1  # the second is still being dealt with
    async with moments.subscribe("bob", position=position) as events:
        assert offsets(await take(events, 3)) == [2, 3, 4]


async def test_with_explicit_acks_an_event_counts_when_its_consumer_is_done(moments: Moments):
    await moments.graph.befriend("ann", "cyd")
    posts = [await moments.posts.create("ann", {"n": n}, only=["cyd"]) for n in range(3)]

    async def cursor() -> int:
        return (await moments.feed.read("cyd", after=0)).cursor

    async with moments.subscribe("cyd", ack="explicit") as events:
        assert offsets(await take(events, 2)) == [1, 2]
        await wait_until(lambda: _is(cursor, 1))
    assert await cursor() == 1
    async with moments.subscribe("cyd", ack="explicit") as events:
        assert offsets(await take(events, 2)) == [2, 3]
        await wait_until(lambda: _is(cursor, 2))
        waits = asyncio.ensure_future(anext(events))
        await wait_until(lambda: _is(cursor, 3))
        waits.cancel()
        await asyncio.wait((waits,))
    delivered = moments.deliveries.of_post(posts[2].id, channel="socket", state="delivered")
    assert [one.recipient async for one in delivered] == ["cyd"]


async def _is(read: Any, wanted: int) -> bool:
    return await read() == wanted


async def test_what_is_no_longer_kept_is_named_and_the_rest_comes(moments: Moments):
    await moments.graph.befriend("ann", "gus")
    for number in range(25):
        await moments.posts.create("ann", {"n": number}, only=["gus"])
    await wait_until(lambda: _is(lambda: _head(moments, "gus"), 25))
    gaps: list[Gap] = []
    async with moments.subscribe("gus", position=Position(2), on_gap=gaps.append) as events:
        [first] = await take(events, 1)
        rest = await take(events, 25 - first.offset)
    assert [(gap.from_, gap.to) for gap in gaps] == [(3, first.offset - 1)]
    assert offsets(rest) == list(range(first.offset + 1, 26))


async def _head(moments: Moments, user: str) -> int:
    return (await moments.feed.read(user, after=0)).head_offset


async def test_a_position_in_another_log_starts_over(moments: Moments):
    await moments.graph.befriend("ann", "hal")
    await moments.posts.create("ann", {}, only=["hal"])
    resets: list[Reset] = []
    position = Position(7, "another")
    async with moments.subscribe("hal", position=position, on_reset=resets.append) as events:
        assert offsets(await take(events, 1)) == [1]
    assert [reset.epoch for reset in resets] == [(await moments.feed.read("hal")).epoch]


async def test_a_reader_with_only_a_token_needs_no_key(moments: Moments, running: Live):
    await moments.graph.befriend("ann", "dan")
    await moments.posts.create("ann", {}, only=["dan"])
    token = (await moments.tokens.create("dan")).token
    async with subscribe(running.socket_url, token) as events:
        assert offsets(await take(events, 1)) == [1]


async def test_a_token_of_a_few_seconds_is_renewed_on_the_open_socket(
    moments: Moments, monkeypatch: pytest.MonkeyPatch
):
    await moments.graph.befriend("ann", "eve")
    made: list[str] = []
    make = moments.tokens.create

    async def counted(user: str, *, ttl_s: int | None = None) -> Token:
        token = await make(user, ttl_s=ttl_s)
        made.append(token.token)
        return token

    monkeypatch.setattr(moments.tokens, "create", counted)
    states: list[State] = []
    async with moments.subscribe("eve", ttl_s=2, on_state=states.append) as events:
        coming = asyncio.ensure_future(anext(events))
        await wait_until(lambda: len(made) == 2)
        await moments.posts.create("ann", {}, only=["eve"])
        async with asyncio.timeout(5):
            assert (await coming).offset == 1
    assert made[0] != made[1]
    assert states == [State.OPEN, State.CLOSED]


async def test_closing_ends_an_iteration_that_waits_elsewhere(moments: Moments):
    events = moments.subscribe("nobody")

    async def count() -> int:
        return len([event async for event in events])

    counting = asyncio.ensure_future(count())
    await wait_until(lambda: events.state is State.OPEN)
    await moments.close()
    async with asyncio.timeout(5):
        assert await counting == 0
    with pytest.raises(StopAsyncIteration):
        await anext(events)
