"""Events that were pushed before and that somebody asked to be pushed once more, one by one."""

import asyncio
from itertools import islice
from typing import Final

from app.errors import StoreError
from app.gateway.backoff import Backoff
from app.gateway.connection import Connection
from app.gateway.feed import Pages
from app.gateway.hub import Posts, frames_of
from app.gateway.notices import Notices
from app.gateway.stats import Stats

WAITING_MAX: Final = 1_000
ASKS_MAX: Final = 64  # events in one round trip

Asked = tuple[Connection, int]


class Repeats:
    """Who wants which offset again. Their sockets go on as they were meanwhile."""

    def __init__(self, inbox: Pages, posts: Posts, stats: Stats, notices: Notices) -> None:
        self._inbox = inbox
        self._posts = posts
        self._stats = stats
        self._notices = notices
        self._waiting: dict[Asked, None] = {}
        self._wake = asyncio.Event()
        self._backoff = Backoff("repeats", stats)

    def ask(self, connection: Connection, offset: int) -> None:
        """Dropped when too many wait: whoever asked can see that nothing was acknowledged."""
        if len(self._waiting) < WAITING_MAX:
            self._waiting[connection, offset] = None
            self._wake.set()
        elif (connection, offset) not in self._waiting:
            self._stats.repeats_dropped += 1
            self._notices.tell("repeats", "not pushed again", user=connection.user)

    async def run(self) -> None:
        """Works until it is cancelled. A store that does not answer is waited for."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while asked := list(islice(self._waiting, ASKS_MAX)):
                try:
                    await self._serve(asked)
                except StoreError as error:
                    await asyncio.sleep(self._backoff.failed(error))
                else:
                    self._backoff.worked()
                    for one in asked:
                        del self._waiting[one]

    async def _serve(self, asked: list[Asked]) -> None:
        asks = [(connection.user, offset - 1, 1) for connection, offset in asked]
        pages = await self._inbox.read_many(asks)
        # What is not there any more has been trimmed, and cannot be pushed.
        found = {
            one: page.events[0]
            for one, page in zip(asked, pages, strict=True)
            if page.events and page.first_offset == one[1]
        }
        frames = await frames_of(set(found.values()), self._posts)
        for (connection, offset), event in found.items():
            connection.write_again(offset, frames[event])
