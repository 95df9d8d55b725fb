"""Writes that are answered only when the disk or a replica has them: one wait for many writes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from app.errors import NotDurable, StoreError, StoreUnavailable
from app.store.connection import Replies, pack

# What must have a write before it counts: the server's memory and its append-only file (safe
# against the death of the process), the server's disk, or a replica.
Ack = Literal["memory", "fsync", "replica"]
Safe = Literal["fsync", "replica"]

WAIT_MS = 5_000  # a busy disk may make `appendfsync everysec` two seconds late
ANSWER_S = 5.0  # on top of it, for the answer itself
QUEUED_MAX = 4_096

# Sends packed commands on a connection of their own: commands, their number, limit in seconds.
Block = Callable[[bytes, int, float], Awaitable[Replies]]

# What a caller waits for, its packed commands and how many they are.
_Write = tuple["asyncio.Future[Replies]", bytes, int]

_LACKING = {
    "fsync": "the server's disk has not confirmed the write",
    "replica": "no replica has confirmed the write",
}


class GroupCommit:
    """Writes to one server that share their wait.

    While one batch waits, the next one gathers. So an answer takes one to two waits, however
    many callers there are.
    """

    def __init__(self, name: str, block: Block, ack: Safe, wait_ms: int = WAIT_MS) -> None:
        self._name = name
        self._block = block
        self._lacking = f"{_LACKING[ack]} in {wait_ms} ms"
        # Both count for the connection that wrote, so they are sent right behind the writes.
        self._wait = pack(("WAITAOF", 1, 0, wait_ms) if ack == "fsync" else ("WAIT", 1, wait_ms))
        self._limit_s = wait_ms / 1000 + ANSWER_S
        self._queued: list[_Write] = []
        self._committing: asyncio.Task[None] | None = None

    async def send(self, commands: bytes, count: int) -> Replies:
        """The replies to `count` packed commands, once what they wrote is safe.

        Error replies stay in their place. Raises NotDurable when the confirmation did not come
        in time, StoreUnavailable or ConnectionLost when the server cannot be reached. A caller
        that is cancelled takes back what has not been sent; the others notice nothing.
        """
        if len(self._queued) >= QUEUED_MAX:
            raise StoreUnavailable(f"{QUEUED_MAX} writes wait for {self._name} already")
        future: asyncio.Future[Replies] = asyncio.get_running_loop().create_future()
        self._queued.append((future, commands, count))
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_all(), name="store-commit")
        return await future

    async def close(self) -> None:
        """Gives up what is under way."""
        if self._committing is not None:
            self._committing.cancel()
            await asyncio.wait((self._committing,))

    async def _commit_all(self) -> None:
        batch: list[_Write] = []
        try:
            while batch := self._take():
                await self._commit(batch)
        finally:  # cancelled by `close`
            self._committing = None
            given_up = StoreUnavailable(f"writing to {self._name} was given up")
            _fail([*batch, *self._take()], given_up)

    def _take(self) -> list[_Write]:
        queued, self._queued = self._queued, []
        return [write for write in queued if not write[0].done()]

    async def _commit(self, batch: list[_Write]) -> None:
        packed = b"".join([commands for _, commands, _ in batch]) + self._wait
        total = sum([count for _, _, count in batch])
        try:
            replies = await self._block(packed, total + 1, self._limit_s)
        except StoreError as error:
            _fail(batch, error)
        else:
            _deal(batch, replies, self._doubt(replies[-1]))

    def _doubt(self, confirmed: Any) -> StoreError | None:
        """From WAITAOF's [local, replicas], or WAIT's number of replicas."""
        if isinstance(confirmed, StoreError):
            return confirmed
        copies: int = confirmed if isinstance(confirmed, int) else confirmed[0]
        return None if copies >= 1 else NotDurable(self._lacking)


def _deal(batch: list[_Write], replies: Replies, doubt: StoreError | None) -> None:
    end = 0
    for future, _, count in batch:
        start, end = end, end + count
        mine = replies[start:end]
        # An error reply says more than the doubt: nothing was written.
        if doubt is None or isinstance(mine[-1], StoreError):
            _set(future, mine)
        else:
            _fail([(future, b"", count)], doubt)


def _set(future: "asyncio.Future[Replies]", replies: Replies) -> None:
    if not future.done():
        future.set_result(replies)


def _fail(batch: list[_Write], error: StoreError) -> None:
    for future, _, _ in batch:
        if not future.done():
            future.set_exception(error)
