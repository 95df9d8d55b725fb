"""Getting commands to the servers that have their keys, and their replies back.

Commands are grouped by server and each group leaves in one write. What comes back as "load the
script first" or "ask over there" is prepared for it and sent again; the number of tries is bound.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any

from app.errors import (
    ConnectionLost,
    Demoted,
    Redirected,
    ScriptMissing,
    StoreError,
    StoreUnavailable,
)
from app.store.connection import Replies, Word, pack
from app.store.durability import Safe
from app.store.script import Script
from app.store.server import Server
from app.store.topology import Cluster, OneServer
from app.store.traffic import Traffic

TRIES_MAX = 6  # a script to load, a slot that moves, a primary that changes
SLOT_MOVING_S = 0.05

_ASKING = pack(("ASKING",))
_KEY_BEHIND_SUBCOMMAND = frozenset({"XINFO", "XGROUP", "OBJECT", "MEMORY"})


class Request:
    """One command under way, and what the servers' answers have made of it so far.

    `commands` are the bytes to send now, which bring `count` replies of which the last one
    counts: `reply`, a StoreError when it failed.
    """

    __slots__ = (
        "ask",
        "asked",
        "command",
        "commands",
        "count",
        "key",
        "load_first",
        "reply",
        "script",
        "tried_again",
    )

    def __init__(self, key: bytes, command: bytes, script: Script | None = None) -> None:
        self.key = key
        self.command = self.commands = command
        self.count = 1
        self.script = script
        self.load_first = False
        self.ask: Server | None = None  # the key's slot is on the move: this server, this once
        self.asked: Server | None = None
        self.tried_again = False
        self.reply: Any = None

    def prepare(self) -> None:
        """Puts in front of the command what the next try needs."""
        asking = [_ASKING] if self.ask is not None else []
        load = [self.script.load] if self.load_first and self.script is not None else []
        self.commands = b"".join([*load, *asking, self.command])
        self.count = 1 + len(load) + len(asking)


Exchange = Callable[[Sequence[Request]], Awaitable[None]]


def script_request(script: Script, keys: Sequence[bytes], args: Sequence[Word]) -> Request:
    return Request(keys[0], pack(("EVALSHA", script.sha, len(keys), *keys, *args)), script)


def plain_request(command: tuple[Word, ...]) -> Request:
    """A command with its key behind its name, or behind its subcommand; or with no key at all."""
    at = 2 if command[0] in _KEY_BEHIND_SUBCOMMAND else 1
    key = command[at] if len(command) > at else b""
    return Request(key if isinstance(key, bytes) else str(key).encode(), pack(command))


class Dispatcher:
    """Sends requests over one topology. Errors end up in `Request.reply`, never raised."""

    def __init__(self, topology: OneServer | Cluster) -> None:
        self._topology = topology
        self.traffic = Traffic()
        self._time = self.traffic.time("memory")

    async def settle(self, requests: Sequence[Request], exchange: Exchange) -> None:
        """Repeats `exchange` until every reply stands."""
        self.traffic.calls += len(requests)
        todo = requests
        for _ in range(TRIES_MAX):
            if self._topology.is_stale:
                try:
                    await self._topology.refresh()
                except StoreUnavailable as error:
                    return _fail(todo, error)
            await exchange(todo)
            todo = [r for r in todo if isinstance(r.reply, StoreError) and self._may_recover(r)]
            if not todo:
                return None
            if any(_is_moving(request) for request in todo):
                await asyncio.sleep(SLOT_MOVING_S)
        return None

    async def together(self, requests: Sequence[Request]) -> None:
        """One write and one read per server, on the connections that everybody shares."""
        sent: list[tuple[list[Request], asyncio.Future[Replies]]] = []
        began = monotonic()
        try:
            for server, batch in self._by_server(requests).items():
                try:
                    connection = server.shared or await server.connect()
                    commands = b"".join([request.commands for request in batch])
                    count = sum([request.count for request in batch])
                    sent.append((batch, connection.send(commands, count)))
                except StoreError as error:
                    _fail(batch, error)
            for batch, replies in sent:
                try:
                    _deal(batch, await replies)
                except StoreError as error:
                    _fail(batch, error)
        except asyncio.CancelledError:
            for _, replies in sent:
                _forget(replies)
            raise
        self._time.observe(monotonic() - began)

    async def blocking(self, requests: Sequence[Request], limit_s: float) -> None:
        """Each on a connection of its own, which it may block."""
        for server, batch in self._by_server(requests).items():
            for request in batch:
                await _receive(request, server.block(request.commands, request.count, limit_s))

    async def safely(self, requests: Sequence[Request], ack: Safe) -> None:
        """All with a wait for the disk or a replica, which those of one server share."""
        sends = [
            _receive(request, server.commit(ack).send(request.commands, request.count))
            for server, batch in self._by_server(requests).items()
            for request in batch
        ]
        began = monotonic()
        await asyncio.gather(*sends)
        self.traffic.time(ack).observe(monotonic() - began)

    def _by_server(self, requests: Sequence[Request]) -> dict[Server, list[Request]]:
        batches: dict[Server, list[Request]] = {}
        for request in requests:
            try:
                server = request.ask or self._topology.server_of(request.key)
            except StoreError as error:
                request.reply = error
            else:
                request.asked = server
                batches.setdefault(server, []).append(request)
        return batches

    def _may_recover(self, request: Request) -> bool:
        """Whether another try makes sense, now that the request is prepared for it."""
        error, asked, recovers = request.reply, request.asked, True
        request.ask = None
        match error:
            case ScriptMissing():
                request.load_first = True
            case Redirected() if asked is not None:
                request.ask = self._topology.redirect(error, request.key, asked)
            case StoreUnavailable():
                self._topology.suspect()
                recovers = self._may_try_once_more(request)
            case _:
                return False
        request.prepare()
        return recovers

    def _may_try_once_more(self, request: Request) -> bool:
        """After a lost reply only a script that may run twice, never a plain command."""
        first, request.tried_again = not request.tried_again, True
        match request.reply:
            case Demoted() if request.asked is not None:
                request.asked.drop("it has become a replica")
                return first
            case ConnectionLost():
                return first and request.script is not None and request.script.repeatable
            case _:
                return False


async def _receive(request: Request, replies: Awaitable[Replies]) -> None:
    try:
        request.reply = (await replies)[-1]
    except StoreError as error:
        request.reply = error


def _deal(batch: list[Request], replies: Replies) -> None:
    last = -1
    for request in batch:
        last += request.count
        request.reply = replies[last]


def _fail(batch: Sequence[Request], error: StoreError) -> None:
    for request in batch:
        request.reply = error


def _forget(replies: asyncio.Future[Replies]) -> None:
    """What a cancelled caller will not ask for must not be reported as an error nobody saw."""
    if not replies.cancel() and not replies.cancelled():
        replies.exception()


def _is_moving(request: Request) -> bool:
    return isinstance(request.reply, Redirected) and request.reply.address is None
