"""The gateway as a whole: its parts put together, its tasks, its start and its end."""

import asyncio
import random
import socket
import time
from collections.abc import Awaitable, Callable
from logging import getLogger
from typing import Final, Protocol, cast

from app.domain.client import Addresses
from app.errors import StoreError
from app.gateway.connection import Connection
from app.gateway.context import Context, Counted, Verify
from app.gateway.cursors import Cursors, CursorStore
from app.gateway.door import Admission, Door, Operations, Rules
from app.gateway.encoding import Encoding
from app.gateway.feed import Feed, Pages
from app.gateway.goodbye import say_goodbye
from app.gateway.handshake import Handshake
from app.gateway.hub import Hub, Posts
from app.gateway.incoming import Incoming
from app.gateway.limits import Limits
from app.gateway.newcomers import Anteroom, Newcomer
from app.gateway.notices import Notices
from app.gateway.opening import Opening
from app.gateway.pacing import Pacer
from app.gateway.repeats import Repeats
from app.gateway.routes import Routes, Routing
from app.gateway.session import Session
from app.gateway.stats import Stats
from app.gateway.wheel import TICK_S, Wheel
from app.store.nodes import OnPushes
from app.tokens import Claims

log = getLogger(__name__)

BACKLOG: Final = 1_024
HANDSHAKES_MAX: Final = 1_000


Watch = Callable[[Callable[[str], Awaitable[None]]], Awaitable[None]]  # `EpochWatch.run`


class Node(Routing, Protocol):
    """What is pushed to this process comes by it: `app.store.nodes.Node`."""

    async def run(self, on_pushes: OnPushes, stop: asyncio.Event) -> None: ...
    async def beat(self) -> None: ...
    async def close(self) -> None: ...


class Inbox(Pages, CursorStore, Protocol):
    """`app.store.inbox.Inbox`."""


class Gateway:
    """Made, started, then run until it is told to stop; once."""

    def __init__(
        self,
        node: Node,
        inbox: Inbox,
        bodies: Posts,
        verify: Verify,
        *,
        epoch: str,
        shards: int,
        limits: Limits | None = None,
        rules: Rules | None = None,
        operations: Operations | None = None,
        watch: Watch | None = None,
        now: Callable[[], float] = time.monotonic,
        id_: str = "gateway",
    ) -> None:
        """`verify` raises `BadToken`. `watch` tells of another epoch until it is cancelled. `now`
        is in seconds and never goes back. `id_` is what this process is known by."""
        self.id = id_
        self.stats = stats = Stats()
        self._notices = notices = Notices(now)
        self._limits = limits = limits or Limits()
        self._watch = watch
        self._now = now
        self._node = node
        self._wheel = Wheel(now())
        self._hub = Hub(
            bodies,
            shards,
            stats,
            group_bytes_max=limits.unsent_bytes_max,
            rejoin=lambda users: self._routes.rejoin(users),
        )
        self._feed = Feed(inbox, bodies, stats, batch_max=limits.resume_batch_max)
        self._repeats = Repeats(inbox, bodies, stats, notices)
        self._cursors = Cursors(inbox, stats)
        self._routes = Routes(
            node, stats, is_here=lambda user: bool(self._hub.of(user)), joined=self._hub.go_on
        )
        self._door = Door(
            limits,
            stats,
            notices,
            verify,
            operations or Operations(),
            sockets_of=lambda user: len(self._hub.of(user)),
            rules=rules,
        )
        self._context = self._make_context(epoch, verify)
        self._addresses = Addresses(limits.connections_per_address_max, limits.trusted_proxies)
        self._anteroom = Anteroom(
            self._context, no_room_for=self._door.no_room_for, enter=self._enter_late
        )
        self._server: asyncio.Server | None = None
        self._connections = 0  # with those in their handshake, and those being closed
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    def _make_context(self, epoch: str, verify: Verify) -> Context:
        return Context(
            limits=self._limits,
            epoch=epoch,
            stats=self.stats,
            notices=self._notices,
            wheel=self._wheel,
            verify=verify,
            now=self._now,
            ask=self._feed.ask,
            repeat=self._repeats.ask,
            left=self._leave,
            lost=self._lose,
            advance=self._cursors.advance,
            repushed=self._cursors.repushed,
        )

    async def start(self, host: str, port: int) -> int:
        """Begins to accept; returns the port, which is a free one for 0. Raises OSError."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._accept, host, port, backlog=BACKLOG)
        return self._serve(server)

    async def start_on(self, listener: socket.socket) -> int:
        """The same on a socket that is bound already."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._accept, sock=listener, backlog=BACKLOG)
        return self._serve(server)

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop`, then takes leave of everybody and of the store."""
        stop_node = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._node.run(self._hub.on_pushes, stop_node), name="node")
            parts = (self._feed, self._repeats, self._routes, self._cursors)
            works = [*(part.run for part in parts), self._tick, self._watch_epoch]
            chores = [tasks.create_task(work(), name=work.__qualname__) for work in works]
            await stop.wait()
            await self._empty()
            for chore in chores:
                chore.cancel()
            await asyncio.wait(chores)
            await self._tell(self._cursors.settle)
            await self._tell(self._routes.settle)
            stop_node.set()
        await self._tell(self._node.close)

    def _serve(self, server: asyncio.Server) -> int:
        self._server = server
        port = server.sockets[0].getsockname()[1]
        log.info("accepting sockets", extra={"port": port})
        return port

    # A connection's way in and out.

    def _accept(self) -> asyncio.Protocol:
        if self.stats.handshakes_open >= HANDSHAKES_MAX:
            self.stats.connections_refused += 1
            self._notices.tell("handshakes", "connections were refused")
            return _Refusal()
        self._connections += 1
        self._is_empty.clear()
        self.stats.handshakes_open += 1
        return Handshake(
            self._door,
            self._wheel,
            self._now() + self._limits.hello_timeout_s,
            self._addresses,
            headers_max=self._limits.headers_max,
            enter=self._enter,
            late=self._note_late,
            left=self._leave_handshake,
        )

    def _note_late(self) -> None:
        self.stats.handshakes_timed_out += 1
        self._notices.tell("hello_timeout_s", "no request came in time")

    def _leave_handshake(self) -> None:
        self.stats.handshakes_open -= 1
        self._end_connection()

    def _lose(self, connection: Counted) -> None:
        if connection.address is not None:
            self._addresses.leave(connection.address)
        self._end_connection()

    def _end_connection(self) -> None:
        self._connections -= 1
        if not self._connections:
            self._is_empty.set()

    def _enter(
        self, transport: asyncio.Transport, admission: Admission, address: str | None, rest: bytes
    ) -> None:
        """The handshake is done, and a socket takes its connection over, with what it counts
        for."""
        self.stats.handshakes_open -= 1
        self.stats.sockets_accepted += 1
        opening, encoding = admission.opening, admission.encoding
        if admission.claims is None:
            self._anteroom.take(transport, opening, encoding, address, rest)
            return
        connection = self._open(transport, opening, encoding, admission.claims, address)
        if rest:
            connection.data_received(rest)

    def _enter_late(self, newcomer: Newcomer, claims: Claims) -> None:
        """The token has come, and a socket takes the newcomer's connection over."""
        transport, opening, encoding = newcomer.transport, newcomer.opening, newcomer.encoding
        address, incoming = newcomer.address, newcomer.incoming
        connection = self._open(transport, opening, encoding, claims, address, incoming)
        connection.go_on_with(newcomer.rest())

    def _open(
        self,
        transport: asyncio.Transport,
        opening: Opening,
        encoding: Encoding,
        claims: Claims,
        address: str | None,
        incoming: Incoming | None = None,
    ) -> Connection:
        session = Session(
            self._limits,
            explicit=opening.explicit,
            after=opening.after,
            lost=opening.epoch not in (None, self._context.epoch),
        )
        connection = Connection(
            self._context, transport, session, encoding, claims, address, incoming=incoming
        )
        # Spread out: sockets that were opened together shall not be pinged together.
        connection.watch(self._limits.ping_s * random.uniform(0.5, 1.0))
        self._hub.add(connection)
        if self._routes.is_joined(claims.user):
            connection.go_on()
        else:
            self._routes.changed(claims.user)
        return connection

    def _leave(self, connection: Connection) -> None:
        self._feed.forget(connection)
        if self._hub.remove(connection):
            self._routes.changed(connection.user)

    # The store.

    async def _watch_epoch(self) -> None:
        if self._watch is not None:
            await self._watch(self.begin_anew)

    async def begin_anew(self, epoch: str) -> None:
        """The store has lost everything: this node's place, all routes, every inbox and cursor.

        Sockets are told and go on with what there is from now on.
        """
        await self._node.beat()
        self._context.epoch = epoch
        self._cursors.forget()
        everybody = self._hub.everybody()
        for connection in everybody:
            connection.begin_anew()
        self._routes.rejoin({connection.user for connection in everybody})

    # Time.

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            pacer = Pacer()
            for timed in self._wheel.due(self._now()):
                timed.check(self._now())
                if pacer.is_due:
                    await pacer.rest()

    # The end.

    async def _empty(self) -> None:
        """Nobody comes in, everybody is told, and those who do not close are cut by the wheel."""
        self._door.close()
        if self._server is not None:
            self._server.close()
        log.info("saying goodbye", extra={"sockets": self.stats.sockets_open})
        self._anteroom.say_goodbye()
        await say_goodbye(self._hub.everybody(), self._limits.goodbye_spread_s)
        await self._is_empty.wait()

    async def _tell(self, settle: Callable[[], Awaitable[None]]) -> None:
        """What the store has still to be told. One that does not answer is not waited for: cursors
        are then behind, which costs duplicates, and a janitor clears the routes."""
        try:
            async with asyncio.timeout(self._limits.drain_timeout_s):
                await settle()
        except (StoreError, TimeoutError) as error:
            reason = str(error) or "no answer in time"
            log.warning("left without telling the store", extra={"reason": reason})


class _Refusal(asyncio.Protocol):
    """For a connection too many: there is no request yet that could be answered."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()
