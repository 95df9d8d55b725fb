"""What users have acknowledged here, on its way to the store: collected, written in batches."""

import asyncio
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final, Protocol, TypeVar

from app.errors import StoreError
from app.gateway.backoff import Backoff
from app.gateway.stats import Stats

WAIT_S: Final = 0.05
USERS_MAX: Final = 1_000  # in one call

T = TypeVar("T")


class CursorStore(Protocol):
    """Where cursors are kept: `app.store.inbox.Inbox`."""

    async def advance(self, cursors: Mapping[str, int]) -> dict[str, int]: ...
    async def note_repushes(self, counts: Mapping[str, tuple[int, int]]) -> None: ...


class Cursors:
    """One number a user, however many sockets they have and acks they send: the highest wins.

    What is lost with this process is pushed again to whoever resumes from the cursor.
    """

    def __init__(self, store: CursorStore, stats: Stats) -> None:
        self._store = store
        self._offsets: dict[str, int] = {}
        self._repushes: dict[str, tuple[int, int]] = {}
        self._wake = asyncio.Event()
        self._backoff = Backoff("cursors", stats)

    def advance(self, user: str, offset: int) -> None:
        offsets = self._offsets
        if offset > offsets.get(user, 0):
            if not offsets:
                self._wake.set()
            offsets[user] = offset

    def repushed(self, user: str, offset: int, attempts: int) -> None:
        self._repushes[user] = (offset, attempts)
        self._wake.set()

    def forget(self) -> None:
        """What waits is of a log that is gone."""
        self._offsets.clear()
        self._repushes.clear()

    async def run(self) -> None:
        """Works until it is cancelled. A store that does not answer is waited for; what waits then
        is bounded by the users who are here."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(WAIT_S)
            self._wake.clear()
            try:
                await self.settle()
            except StoreError as error:
                await asyncio.sleep(self._backoff.failed(error))
                self._wake.set()
            else:
                self._backoff.worked()

    async def settle(self) -> None:
        """Writes all there is. When that fails, or is given up, all of it still waits.

        Raises `StoreError`.
        """
        offsets, self._offsets = self._offsets, {}
        repushes, self._repushes = self._repushes, {}
        try:
            for part in _parts(offsets):
                await self._store.advance(part)
            for part in _parts(repushes):
                await self._store.note_repushes(part)
        except BaseException:
            for user, offset in offsets.items():
                self.advance(user, offset)
            self._repushes = repushes | self._repushes
            raise


def _parts(waiting: Mapping[str, T]) -> Iterator[dict[str, T]]:
    entries = iter(waiting.items())
    while part := dict(islice(entries, USERS_MAX)):
        yield part
