"""The feed: what a user was sent, read page by page or waited for, and their cursor."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from app.api.answers import Answer, model_answer
from app.api.call import Ask
from app.api.schemas.feed import Cursor, CursorMove, FeedQuery
from app.api.schemas.fields import Nothing
from app.api.waiters import Wait
from app.domain.post import Event, Post
from app.store.inbox import InboxPage
from app.wire import encode_json, event_type, post_json

PAGE_BYTES_MAX = 4 * 1024 * 1024


async def read(ask: Ask[FeedQuery, Nothing]) -> Answer:
    """What a user was sent, in the order of its offsets; or waits until something comes.

    `after` is the last offset that is known; without it the page starts at the cursor. What was
    trimmed before the page is named in `gap`. With another `epoch` than before, offsets from then
    mean nothing.
    """
    query, services = ask.query, ask.services
    page = await services.inbox.read(ask.path["user"], query.after, query.limit)
    if not _is_settled(page) and query.wait_s > 0:
        page = await _wait(ask, page.after)
    posts = await services.bodies.get(page.events)
    return Answer(200, _feed(services.epoch, page, posts))


def waits_s(ask: Ask[FeedQuery, Nothing]) -> float:
    """How long a read may wait for something to come."""
    return ask.query.wait_s


async def move_cursor(ask: Ask[Nothing, CursorMove]) -> Answer:
    """Marks a feed as dealt with up to an offset. It never goes back."""
    inbox, user = ask.services.inbox, ask.path["user"]
    stand = await inbox.advance({user: ask.body.offset})
    # Read afterwards, so that the head is never behind the cursor.
    page = await inbox.read(user, None, 0)
    cursor = max(stand[user], page.cursor)
    answer = Cursor(cursor=cursor, head_offset=page.head, unread=page.head - cursor)
    return model_answer(200, answer)


def _is_settled(page: InboxPage) -> bool:
    """Something to tell: events, or that the client is ahead of an inbox that began anew."""
    return bool(page.events) or page.after > page.head


async def _wait(ask: Ask[FeedQuery, Nothing], after: int) -> InboxPage:
    """The page as soon as it has something, or as it is when the time is over."""
    services, user, query = ask.services, ask.path["user"], ask.query
    deadline = asyncio.get_running_loop().time() + query.wait_s
    async with services.waiters.wait(user) as wait, _watch(ask.receive, wait) as gone:
        while True:
            await wait.ready()
            page = await services.inbox.read(user, after, query.limit)
            left_s = deadline - asyncio.get_running_loop().time()
            if _is_settled(page) or left_s <= 0 or services.waiters.is_closing:
                return page
            if not await wait.woken(left_s):
                return page
            if gone.is_set():
                raise ClientDisconnect


@asynccontextmanager
async def _watch(receive: Receive, wait: Wait) -> AsyncGenerator[asyncio.Event]:
    """Sees the client leave: the event is set then, and the wait woken."""
    gone = asyncio.Event()

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()
        wait.wake()

    # No task group: it would wrap what the wait itself raises.
    watching = asyncio.create_task(watch(), name="feed-disconnect")
    try:
        yield gone
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        if not watching.cancelled():
            watching.result()


def _feed(epoch: str, page: InboxPage, posts: Mapping[str, Post | None]) -> bytes:
    first = page.first_offset
    items = _cut(
        _item(first + index, event, posts[event.post]) for index, event in enumerate(page.events)
    )
    head: dict[str, Any] = {"epoch": epoch}
    if page.after < page.trimmed:
        head["gap"] = {"from": page.after + 1, "to": page.trimmed}
    tail = {
        "next_offset": min(first - 1 + len(items), page.head),
        "head_offset": page.head,
        "cursor": page.cursor,
    }
    body = encode_json(head)[:-1] + b',"items":[' + b",".join(items) + b"],"
    return body + encode_json(tail)[1:]


def _cut(items: Iterable[bytes]) -> list[bytes]:
    """As many as come to `PAGE_BYTES_MAX`, but at least one: the next page begins after them."""
    page: list[bytes] = []
    size = 0
    for item in items:
        size += len(item)
        if page and size > PAGE_BYTES_MAX:
            break
        page.append(item)
    return page


def _item(offset: int, event: Event, post: Post | None) -> bytes:
    type_ = event_type(post, event).encode()
    return b'{"offset":%d,"type":"%b","post":%b}' % (offset, type_, post_json(post, event))
