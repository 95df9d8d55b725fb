"""What waits for a replica: writes, also when they come again, and whatever is shown or sent."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from app.domain.post import Event, EventKind
from app.errors import NotDurable
from app.store import keys
from app.store.client import Store
from app.store.inbox import Inbox
from app.wire import encode_event, encode_users
from tests.opened_store import opened
from tests.store.service import ANYBODY, NOW_MS, Service
from tests.store_servers import Pair

ACK_TIMEOUT_MS = 100
POST = "01k2v3w4x5y6z7a800"


async def accept(store: Store) -> Any:
    posts = Service.on(store, ack="replica").posts
    return await posts.accept("ann", "post", b"{}", ANYBODY, idempotency="k", now_ms=NOW_MS)


async def accept_lost(store: Store) -> Any:
    """The very call that was sent before, as when its first answer was lost."""
    fields = ["author", "ann", "type", "post", "version", 1]
    fields += ["created_at", NOW_MS, "updated_at", NOW_MS, "data", b"{}"]
    return await store.call(
        "accept_post",
        [keys.post(0, POST), keys.posts(0)],
        [encode_event(Event(POST, 1, EventKind.CREATED)), "ann", 60, 100, 60, POST, "", *fields],
        durable="replica",
    )


async def edit(store: Store) -> Any:
    args = [EventKind.UPDATED.value, POST, b"{}", 9, 100, NOW_MS, "the same request"]
    return await store.call(
        "change_post", [keys.post(0, POST), keys.posts(0)], args, durable="replica"
    )


async def delete(store: Store) -> Any:
    return await Service.on(store, ack="replica").posts.delete(POST, NOW_MS)


async def fan_out(store: Store) -> Any:
    named = [keys.roster(0, POST, 1, 0), keys.tally(0, POST), keys.routes(0), keys.trimmed(0)]
    event = encode_event(Event(POST, 1, EventKind.CREATED))
    args = [keys.tag(0), event, "post.created", 0, 60, 100, 80, 100, 120, encode_users(["bob"])]
    return await store.call("fan_out", [*named, keys.deliveries(0)], args, durable="replica")


@pytest.mark.parametrize("write", [accept, accept_lost, edit, delete, fan_out])
async def test_what_was_written_before_on_another_connection_is_waited_for_too(
    pair: Pair, write: Callable[[Store], Awaitable[Any]]
) -> None:
    async with (
        opened(pair.url, ack_timeout_ms=ACK_TIMEOUT_MS) as first,
        opened(pair.url, ack_timeout_ms=ACK_TIMEOUT_MS) as again,
    ):
        if write in (edit, delete):
            await accept_lost(first)
        pair.lag()
        with pytest.raises(NotDurable, match="in 100 ms"):
            await write(first)
        with pytest.raises(NotDurable):
            await write(again)
        pair.catch_up()
        await write(again)


async def test_settling_waits_for_all_that_was_written_and_changes_nothing(pair: Pair) -> None:
    stream = keys.deliveries(0)
    async with opened(pair.url, ack_timeout_ms=ACK_TIMEOUT_MS) as store:
        await store.execute("XADD", stream, "1-1", "k", "1")
        await store.settle([stream], "replica")
        pair.lag()
        await store.settle([stream], "memory")
        await store.settle([keys.deliveries(1)], "replica")  # there is none
        with pytest.raises(NotDurable):
            await store.settle([stream], "replica")
        pair.catch_up()
        await store.settle([stream], "replica")
        assert await store.execute("XRANGE", stream, "-", "+") == [[b"1-1", [b"k", b"1"]]]
        assert await store.execute("TTL", stream) == -1


async def test_an_inbox_shows_its_newest_event_only_once_that_cannot_be_lost(pair: Pair) -> None:
    async with opened(pair.url, ack_timeout_ms=ACK_TIMEOUT_MS) as store:
        await store.execute("RPUSH", keys.inbox(0, "ann"), f"c1.{POST}", f"u2.{POST}")
        inbox = Inbox(store, 1, "replica")
        assert len((await inbox.read("ann", 0, 10)).events) == 2
        pair.lag()
        with pytest.raises(NotDurable):
            await inbox.read("ann", 0, 10)
        assert len((await inbox.read("ann", 0, 1)).events) == 1  # it shows an older one
        assert (await inbox.read("ann", 2, 10)).events == ()
        assert len((await Inbox(store, 1).read("ann", 0, 10)).events) == 2
