"""Our connections to one server: one that everybody shares, others for whoever has to block."""

import asyncio
from collections.abc import Awaitable, Callable

from app.errors import ConnectionLost, StoreError, StoreUnavailable
from app.store.connection import Connection, Replies
from app.store.durability import WAIT_MS, GroupCommit, Safe

BUSY_MAX = 512  # connections that block at the same time
IDLE_MAX = 32  # kept open for the next command that blocks

# Opens a connection; `shared` ones are cut when an answer is overdue, the others may block.
Opener = Callable[[bool], Awaitable[Connection]]


class Server:
    """One server of the store. Connects when first needed, and again after a loss.

    `host` is what it means by an empty host when it tells where others are. `ack_timeout_ms` is how
    long its disk or a replica may take to confirm what was written.
    """

    def __init__(
        self, name: str, opener: Opener, host: str = "", ack_timeout_ms: int = WAIT_MS
    ) -> None:
        self.name = name
        self.host = host
        self._open = opener
        self._shared: Connection | None = None
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._opening = asyncio.Lock()
        self._failures = 0
        self._failure: StoreError | None = None
        self._closed = False
        self._commits: dict[Safe, GroupCommit] = {
            "fsync": GroupCommit(name, self.block, "fsync", ack_timeout_ms),
            "replica": GroupCommit(name, self.block, "replica", ack_timeout_ms),
        }

    @property
    def shared(self) -> Connection | None:
        """The shared connection, if it is open now."""
        connection = self._shared
        return connection if connection is not None and connection.is_open else None

    async def connect(self) -> Connection:
        """The shared connection, opened if need be.

        Of many callers one opens it; if that fails, all who waited for it fail with it, so that
        a server that does not answer costs each of them one connect timeout at most.
        """
        failures = self._failures
        async with self._opening:
            if (connection := self.shared) is not None:
                return connection
            if self._failure is not None and self._failures != failures:
                raise StoreUnavailable(str(self._failure)) from self._failure
            self._check_open()
            try:
                self._shared = await self._open(True)
            except StoreError as error:
                self._failures += 1
                self._failure = error
                raise
            return self._shared

    async def block(self, commands: bytes, count: int, limit_s: float) -> Replies:
        """The replies to packed commands that block their connection, sent on one of their own.

        Raises ConnectionLost when they are not complete after `limit_s`. Then, and when the
        caller is cancelled, that connection is cut.
        """
        self._check_open()
        if len(self._busy) >= BUSY_MAX:
            raise StoreUnavailable(f"{BUSY_MAX} commands block on {self.name} already")
        connection = self._take_idle() or await self._open(False)
        self._busy.add(connection)
        try:
            async with asyncio.timeout(limit_s):
                return await connection.send(commands, count)
        except TimeoutError as error:
            raise ConnectionLost(f"{self.name} did not answer in {limit_s} s") from error
        finally:
            self._busy.discard(connection)
            self._put_back(connection)

    def commit(self, ack: Safe) -> GroupCommit:
        """Where writes go whose answer has to wait for the disk or a replica."""
        return self._commits[ack]

    def drop(self, reason: str) -> None:
        """Cuts every connection; the next call connects anew."""
        for connection in self._connections():
            connection.abort(reason)

    async def close(self) -> None:
        """Cuts every connection and waits until the sockets are closed; final."""
        self._closed = True
        for commit in self._commits.values():
            await commit.close()
        for connection in self._connections():
            await connection.close()

    def _connections(self) -> list[Connection]:
        shared = [] if self._shared is None else [self._shared]
        return [*shared, *self._idle, *self._busy]

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    def _put_back(self, connection: Connection) -> None:
        reusable = connection.is_open and connection.is_idle and not self._closed
        if reusable and len(self._idle) < IDLE_MAX:
            self._idle.append(connection)
        else:
            connection.abort("it was given up")

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed on our side")
