"""Reads inboxes for sockets that are behind, many at a time, and writes what they missed."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from app.domain.post import Event
from app.errors import StoreError
from app.gateway.backoff import Backoff
from app.gateway.connection import Connection
from app.gateway.hub import Posts, frames_of
from app.gateway.pacing import Pacer
from app.gateway.stats import Stats
from app.store.inbox import InboxPage

ASKS_MAX: Final = 64  # pages in one round trip
EVENTS_MAX: Final = 256  # events whose bodies are fetched, and held, at once


class Pages(Protocol):
    """Where pages come from: `app.store.inbox.Inbox`."""

    async def read_many(self, asks: Sequence[tuple[str, int | None, int]]) -> list[InboxPage]: ...


@dataclass(frozen=True, slots=True)
class _Portion:
    """Some of a page's events, from the offset `first` on. `head` stands in the last one."""

    connection: Connection
    first: int
    events: tuple[Event, ...]
    head: int | None


class Feed:
    """A queue of open sockets that want a page. Each is in it once at most: so it is bounded."""

    def __init__(self, inbox: Pages, posts: Posts, stats: Stats, *, batch_max: int) -> None:
        """`batch_max`: events of one page."""
        self._inbox = inbox
        self._posts = posts
        self._stats = stats
        self._batch_max = batch_max
        self._waiting: OrderedDict[Connection, None] = OrderedDict()
        self._wake = asyncio.Event()
        self._backoff = Backoff("inboxes", stats)

    def ask(self, connection: Connection) -> None:
        self._waiting[connection] = None
        self._wake.set()

    def forget(self, connection: Connection) -> None:
        self._waiting.pop(connection, None)

    async def run(self) -> None:
        """Works until it is cancelled. A store that does not answer is waited for."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while batch := self._next():
                await self._serve(batch)

    def _next(self) -> list[Connection]:
        batch: list[Connection] = []
        while self._waiting and len(batch) < ASKS_MAX:
            batch.append(self._waiting.popitem(last=False)[0])
        return batch

    async def _serve(self, batch: Sequence[Connection]) -> None:
        owed = dict.fromkeys(batch)  # who has not been given their whole page
        try:
            asks = [(one.user, one.session.after, self._batch_max) for one in batch]
            pages = await self._inbox.read_many(asks)
            await self._hand_out(dict(zip(batch, pages, strict=True)), owed)
        except StoreError as error:
            self._put_back(owed)
            await asyncio.sleep(self._backoff.failed(error))
        else:
            self._backoff.worked()

    def _put_back(self, owed: Iterable[Connection]) -> None:
        """At the head of the queue, in the old order."""
        for connection in reversed(list(owed)):
            if not connection.session.is_closed:
                self._waiting[connection] = None
                self._waiting.move_to_end(connection, last=False)

    async def _hand_out(
        self, pages: dict[Connection, InboxPage], owed: dict[Connection, None]
    ) -> None:
        self._stats.pages_read += len(pages)
        for connection, page in pages.items():
            connection.begin_page(page)
        pacer = Pacer()
        for portions in _rounds(pages):
            events = {event for portion in portions for event in portion.events}
            frames = await frames_of(events, self._posts)
            for portion in portions:
                portion.connection.write_events(portion.first, portion.events, frames)
                if portion.head is not None:
                    del owed[portion.connection]
                    portion.connection.end_page(portion.head)
                if pacer.is_due:
                    await pacer.rest()


def _rounds(pages: dict[Connection, InboxPage]) -> Iterator[list[_Portion]]:
    """The pages cut into portions, `EVENTS_MAX` events a round. Made one by one: whoever takes no
    more when a round begins gets nothing but the end of their page."""
    portions: list[_Portion] = []
    room = EVENTS_MAX
    for connection, page in pages.items():
        start, total = 0, len(page.events)
        while True:
            wanted = room if connection.session.is_reading else 0
            part = page.events[start : start + wanted]
            is_last = start + len(part) == total or not wanted
            head = page.head if is_last else None
            portions.append(_Portion(connection, page.first_offset + start, part, head))
            start += len(part)
            room -= len(part)
            if room == 0:
                yield portions
                portions, room = [], EVENTS_MAX
            if is_last:
                break
    if portions:
        yield portions
