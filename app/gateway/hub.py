"""The open sockets of this process by user, and how what is pushed gets to them."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from logging import getLogger
from typing import Final, Protocol

from app.clock import now_ms
from app.domain.post import Event, Post
from app.domain.shard import shard_of
from app.errors import StoreError
from app.gateway.actions import READ
from app.gateway.connection import Connection
from app.gateway.encoding import JSON, EventFrames
from app.gateway.pacing import Pacer
from app.gateway.session import LIVE
from app.gateway.stats import Stats
from app.store.nodes import Push

log = getLogger(__name__)

FLUSHES: Final = 16  # between two looks at the clock


class Posts(Protocol):
    """Where bodies come from: `app.store.bodies.Bodies`."""

    async def get(self, events: Collection[Event]) -> dict[str, Post | None]: ...


Frames = Mapping[Event, EventFrames]
Group = Sequence[tuple[Push, EventFrames]]


async def frames_of(events: Collection[Event], posts: Posts) -> Frames:
    """Each event's frames, to be made when somebody wants them. Raises `StoreError`."""
    bodies = await posts.get(events)
    return {event: EventFrames(event, bodies.get(event.post)) for event in events}


class Hub:
    """Who is here, and what one read of the node's streams brings them."""

    def __init__(
        self,
        posts: Posts,
        shards: int,
        stats: Stats,
        *,
        group_bytes_max: int,
        rejoin: Callable[[Collection[str]], None],
    ) -> None:
        """`group_bytes_max`: frames of one socket that go into one write.

        `rejoin` gets users whose route may have lost this node; their sockets then go on from
        their inboxes.
        """
        self._posts = posts
        self._shards = shards
        self._stats = stats
        self._group_bytes_max = group_bytes_max
        self._rejoin = rejoin
        self._sockets: dict[str, tuple[Connection, ...]] = {}

    def add(self, connection: Connection) -> None:
        of_user = self._sockets.get(connection.user, ())
        self._sockets[connection.user] = (*of_user, connection)
        self._stats.sockets_open += 1
        self._stats.users_here = len(self._sockets)

    def remove(self, connection: Connection) -> bool:
        """True when it was its user's last."""
        rest = tuple(other for other in self.of(connection.user) if other is not connection)
        if rest:
            self._sockets[connection.user] = rest
        else:
            del self._sockets[connection.user]
        self._stats.sockets_open -= 1
        self._stats.users_here = len(self._sockets)
        return not rest

    def of(self, user: str) -> tuple[Connection, ...]:
        return self._sockets.get(user, ())

    def everybody(self) -> list[Connection]:
        return [connection for of_user in self._sockets.values() for connection in of_user]

    def go_on(self, user: str) -> None:
        """The user's route names this node, now or again."""
        for connection in self.of(user):
            connection.go_on()

    async def on_pushes(self, pushes: Sequence[Push]) -> None:
        """Hands out what one read brought; each socket is written to once, or once a group."""
        self._recover(pushes)
        self._push_again(pushes)
        told = [push for push in pushes if push.event is not None]
        try:
            frames = await frames_of({push.event for push in told if push.event}, self._posts)
        except StoreError as error:
            self._stats.store_failures += 1
            log.warning("store unavailable", extra={"work": "bodies", "reason": str(error)})
            self._lag(told)
            return
        pacer = Pacer()
        for group in _groups(told, frames, self._group_bytes_max):
            if all(of_event is group[0][1] for _, of_event in group):
                await self._write(group, pacer)
            else:
                await self._collect(group, pacer)

    async def _write(self, group: Group, pacer: Pacer) -> None:
        """One event: nobody gets it twice, so that nothing has to be collected.

        The hot path, like `_take`: once for each socket of each recipient of each post.
        """
        sockets = self._sockets
        for push, frames in group:
            text, taken = frames.text, 0
            for user, offset in push.recipients:
                for connection in sockets.get(user, ()):
                    session = connection.session
                    if session.state is LIVE and offset == session.next:
                        session.next = offset + 1  # as `push` does it, less a call
                        of_encoding = text if connection.encoding is JSON else frames.binary
                        connection.write(of_encoding.at(offset))
                        taken += 1
                    elif session.push(offset) is READ:
                        connection.ask()
            self._count(taken, frames)
            if pacer.is_due:
                await pacer.rest()

    async def _collect(self, group: Group, pacer: Pacer) -> None:
        """Several events: each socket is written to once, with all of them."""
        dirty: list[Connection] = []
        taken: list[tuple[int, EventFrames]] = []
        for push, frames in group:
            taken.append((self._take(push, frames, dirty), frames))
            if pacer.is_due:
                await pacer.rest()
        await _flush(dirty, pacer)
        for count, frames in taken:
            self._count(count, frames)

    def _count(self, taken: int, frames: EventFrames) -> None:
        """One event went to so many sockets now: counted once for all of them."""
        stats = self._stats
        stats.frames_sent += taken
        if taken and frames.accepted_ms:
            stats.push_time.observe(max(now_ms() - frames.accepted_ms, 0) / 1000, taken)

    def _take(self, push: Push, frames: EventFrames, dirty: list[Connection]) -> int:
        """How many sockets have it in what goes out to them next."""
        sockets, text, taken = self._sockets, frames.text, 0
        for user, offset in push.recipients:
            for connection in sockets.get(user, ()):
                session = connection.session
                if session.state is LIVE and offset == session.next:
                    session.next = offset + 1
                    outgoing = connection.outgoing
                    if not outgoing:
                        dirty.append(connection)
                    of_encoding = text if connection.encoding is JSON else frames.binary
                    outgoing.append(of_encoding.at(offset))
                    taken += 1
                elif session.push(offset) is READ:
                    connection.ask()
        return taken

    def _lag(self, pushes: Iterable[Push]) -> None:
        """The bodies cannot be had now: the recipients go on from their inboxes when they can."""
        for push in pushes:
            for user, _ in push.recipients:
                for connection in self.of(user):
                    connection.lag()

    def _push_again(self, pushes: Iterable[Push]) -> None:
        for push in pushes:
            if push.event is None:
                for user, offset in push.recipients:
                    for connection in self.of(user):
                        connection.again(offset)

    def _recover(self, pushes: Iterable[Push]) -> None:
        lost = {push.shard for push in pushes if push.event is None and not push.recipients}
        if lost:
            self._stats.overflows += len(lost)
            self._rejoin([user for user in self._sockets if shard_of(user, self._shards) in lost])


def _groups(pushes: Iterable[Push], frames: Frames, bytes_max: int) -> Iterator[Group]:
    """Pushes whose frames together have about `bytes_max`: what a socket gets in one write, and
    what its transport may have to hold if the other side reads nothing."""
    group: list[tuple[Push, EventFrames]] = []
    room = bytes_max
    for push in pushes:
        assert push.event is not None
        of_event = frames[push.event]
        if group and of_event.size > room:
            yield group
            group, room = [], bytes_max
        group.append((push, of_event))
        room -= of_event.size
    if group:
        yield group


async def _flush(dirty: Iterable[Connection], pacer: Pacer) -> None:
    for number, connection in enumerate(dirty):
        connection.flush()
        if number % FLUSHES == 0 and pacer.is_due:
            await pacer.rest()
