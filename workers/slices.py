"""One slice for each of several events: who gets it, and putting it there, in a few round trips."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.clock import now_ms
from app.domain.post import Audience, Event, EventKind, event_type
from app.domain.shard import shard_of
from app.errors import DecodeError, LeaseLost
from app.metrics import Histogram
from app.store import keys
from app.store.client import Call, Store
from app.store.durability import Ack
from app.store.newest import KEPT_MAX
from app.wire import decode_audience, decode_roster, encode_event, encode_time, encode_users

log = logging.getLogger(__name__)

LONG = 2  # slices; most posts have no more
LARGE = 2_000  # recipients: senders begin the deliveries of a larger event at a pace


@dataclass(frozen=True, slots=True)
class FanoutLimits:
    """The settings a fan-out worker goes by."""

    retention_s: int
    inbox_max: int
    inbox_keep: int
    sockets_backlog_max: int
    slice_max: int
    turns_max: int
    events_max: int
    sockets_ttl_s: int = 120
    ack: Ack = "memory"


@dataclass(slots=True)
class FanoutStats:
    """Counters of one worker, all shards together."""

    events: int = 0
    slices: int = 0
    recipients: int = 0
    webhooks: int = 0
    cancelled: int = 0
    failures: int = 0
    takeovers: int = 0
    held: int = 0  # events in memory now
    paused: int = 0  # rounds that left events unread for want of room
    trimmed: int = 0  # inboxes that were full
    time: Histogram = field(default_factory=Histogram)  # from accepted to fanned out


@dataclass(slots=True)
class Work:
    """One event on its way. `finished` is the slice fanned out last, -1 at (re)start.

    `spared` is an endpoint that does not get it, "" for none: the one that it is about.
    """

    entry: bytes
    event: Event
    author: str
    finished: int = -1
    audience: Audience | None = None
    spared: str = ""

    @property
    def is_long(self) -> bool:
        """So far it had `LONG` slices, and is not over."""
        return self.finished + 1 >= LONG


@dataclass(slots=True)
class Turn:
    """One slice of one event: who gets it, by recipient shard. Slice -1: nothing is left."""

    work: Work
    slice: int
    last: bool
    type: str = ""
    deleted: bool = False
    is_large: bool = False
    members: list[str] = field(default_factory=list[str])
    by_shard: dict[int, list[str]] = field(default_factory=dict[int, list[str]])

    @property
    def ends(self) -> bool:
        """This is all there is of the event."""
        return self.last or self.slice < 0


class Slicer:
    """Takes events of one author shard a slice further. Everything it does can be done twice.

    Raises `LeaseLost` when the shard is another worker's.
    """

    def __init__(
        self,
        store: Store,
        *,
        shard: int,
        shards: int,
        token: bytes,
        limits: FanoutLimits,
        stats: FanoutStats,
    ) -> None:
        self._store = store
        self._shard = shard
        self._shards = shards
        self._token = token
        self._limits = limits
        self._stats = stats
        self._lease = keys.lease(shard, keys.FANOUT)
        self._stream = keys.posts(shard)
        # In a cluster a post and its slices lie on several servers, each of which may lose its
        # newest writes: a slice waits until its post is safe. On one server it would be lost first.
        self._post_ack: Ack = "memory" if store.is_one_server else limits.ack

    async def take(self, works: Sequence[Work]) -> list[Turn]:
        """Fans out the next slice of each, and closes the events that have no more."""
        turns = await self._next(works)
        await self._find_recipients(turns)
        await self._cancel(turns)
        await self._fan_out(turns)
        for turn in turns:
            turn.work.finished = max(turn.work.finished, turn.slice)
        await self._close([turn for turn in turns if turn.ends])
        return turns

    async def _next(self, works: Sequence[Work]) -> list[Turn]:
        calls = [self._next_call(work) for work in works]
        answers = await self._store.call_many(calls, durable=self._post_ack)
        turns: list[Turn] = []
        for work, answer in zip(works, answers, strict=True):
            if answer == b"lost":
                raise self._lost()
            if answer == b"missing":
                turns.append(Turn(work, -1, last=True))
                continue
            number, last, deleted, type_, audience, size, *members = answer
            turn = Turn(work, number, bool(last), type_.decode(), bool(deleted), size > LARGE)
            if work.audience is None:
                try:
                    work.audience = decode_audience(audience)
                except DecodeError as error:
                    self._tell_unreadable(work, error)
                    turns.append(Turn(work, -1, last=True))
                    continue
            admits = work.audience.admits
            turn.members = [user for user in map(bytes.decode, members) if admits(user)]
            turns.append(turn)
        return turns

    def _next_call(self, work: Work) -> Call:
        shard, author = self._shard, work.author
        return Call(
            "next_slice",
            [
                self._lease,
                keys.post(shard, work.event.post),
                keys.friends(shard, author),
                keys.followers(shard, author),
                keys.blocks(shard, author),
                keys.blockers(shard, author),
            ],
            [self._token, work.event.version, work.finished, self._limits.slice_max],
        )

    def _tell_unreadable(self, work: Work, error: DecodeError) -> None:
        """As of an entry that cannot be read: it goes nowhere, and holds up nothing behind it."""
        extra = {"post": work.event.post, "version": work.event.version, "error": str(error)}
        log.error("event cannot be read", extra=extra)

    def _lost(self) -> LeaseLost:
        return LeaseLost(f"fan-out of shard {self._shard}")

    # Who gets it

    async def _find_recipients(self, turns: Sequence[Turn]) -> None:
        """Fills in who gets each slice: the page for a new post, the roster for later events."""
        later: list[Turn] = []
        for turn in turns:
            if turn.slice < 0:
                continue
            if turn.work.event.version > 1:
                later.append(turn)
            elif turn.deleted:
                # Deleted while being fanned out: nobody else needs to see it come and go.
                turn.last = True
            else:
                by_shard: defaultdict[int, list[str]] = defaultdict(list)
                for user in turn.members:
                    by_shard[shard_of(user, self._shards)].append(user)
                turn.by_shard = by_shard
        if later:
            await self._read_rosters(later)

    async def _read_rosters(self, turns: Sequence[Turn]) -> None:
        """An edit or deletion goes to exactly those that the post went to."""
        places = [(turn, shard) for turn in turns for shard in range(self._shards)]
        raws = await self._store.run_many(
            [
                ("GET", keys.roster(shard, turn.work.event.post, 1, turn.slice))
                for turn, shard in places
            ]
        )
        for (turn, shard), raw in zip(places, raws, strict=True):
            if raw is None:
                continue
            try:
                turn.by_shard[shard] = list(decode_roster(raw).users)
            except DecodeError as error:
                self._tell_unreadable(turn.work, error)
        for turn in turns:
            if turn.work.event.kind is EventKind.UPDATED:
                await self._drop_blocked(turn)

    async def _drop_blocked(self, turn: Turn) -> None:
        """Whoever has blocked, or been blocked, since the post does not see what it became."""
        users = [user for members in turn.by_shard.values() for user in members]
        if not users:
            return
        author = turn.work.author
        answers = await self._store.run_many(
            [
                ("ZMSCORE", keys.blocks(self._shard, author), *users),
                ("ZMSCORE", keys.blockers(self._shard, author), *users),
            ]
        )
        gone = {
            user
            for scores in answers
            for user, score in zip(users, scores, strict=True)
            if score is not None
        }
        for shard, members in turn.by_shard.items():
            turn.by_shard[shard] = [user for user in members if user not in gone]

    # Putting it there

    async def _cancel(self, turns: Sequence[Turn]) -> None:
        """A deletion first takes back what is still pending of the versions before it."""
        calls: list[Call] = []
        stamp = encode_time(now_ms())
        for turn in turns:
            if turn.slice < 0 or turn.work.event.kind is not EventKind.DELETED:
                continue
            post = turn.work.event.post
            calls += [
                Call(
                    "cancel_slice",
                    [
                        keys.roster(shard, post, version, turn.slice),
                        keys.outcomes(shard, post, version, turn.slice),
                        keys.tally(shard, post),
                        keys.retries(shard),
                    ],
                    [
                        *(keys.tag(shard), post, version, turn.slice),
                        *(stamp, self._limits.retention_s),
                    ],
                )
                for shard in turn.by_shard
                for version in range(1, turn.work.event.version)
            ]
        if calls:
            self._stats.cancelled += sum(await self._store.call_many(calls))

    async def _fan_out(self, turns: Sequence[Turn]) -> None:
        parts = [
            (turn, shard)
            for turn in turns
            for shard, members in turn.by_shard.items()
            if members and turn.slice >= 0
        ]
        if not parts:
            return
        calls = [self._fan_out_call(*part) for part in parts]
        answers = await self._store.call_many(calls, durable=self._limits.ack)
        for recipients, webhooks, trimmed in answers:
            self._stats.recipients += recipients
            self._stats.webhooks += webhooks
            self._stats.trimmed += trimmed
        if not self._pushes_at_once:
            await self._store.call_many([self._push_call(*part) for part in parts])
        self._stats.slices += sum(1 for turn in turns if turn.slice >= 0)

    @property
    def _pushes_at_once(self) -> bool:
        """Whether gateways are told in the same step. Else they are once the slice is safe: what a
        client has seen must not be lost, for its offset would be given to another event."""
        return self._limits.ack == "memory"

    def _push_call(self, turn: Turn, shard: int) -> Call:
        event, limits = turn.work.event, self._limits
        return Call(
            "push_slice",
            [keys.roster(shard, event.post, event.version, turn.slice), keys.routes(shard)],
            [
                *(keys.tag(shard), encode_event(event)),
                *(limits.sockets_backlog_max, limits.sockets_ttl_s),
            ],
        )

    def _fan_out_call(self, turn: Turn, shard: int) -> Call:
        event, limits = turn.work.event, self._limits
        return Call(
            "fan_out",
            [
                keys.roster(shard, event.post, event.version, turn.slice),
                keys.tally(shard, event.post),
                keys.routes(shard),
                keys.trimmed(shard),
                keys.deliveries(shard),
            ],
            [
                keys.tag(shard),
                encode_event(event),
                event_type(turn.type, event.kind),
                turn.slice,
                limits.retention_s,
                limits.inbox_max,
                limits.inbox_keep,
                limits.sockets_backlog_max if self._pushes_at_once else 0,
                limits.sockets_ttl_s,
                encode_users(turn.by_shard[shard]),
                turn.work.spared,
                int(turn.is_large),
            ],
        )

    async def _close(self, turns: Sequence[Turn]) -> None:
        calls = [
            Call(
                "finish_event",
                [
                    *(self._lease, self._stream),
                    *(keys.post(self._shard, turn.work.event.post), keys.newest(self._shard)),
                ],
                [
                    *(self._token, keys.GROUP, turn.work.entry, turn.work.event.version),
                    *(turn.work.finished + 1, turn.work.event.post),
                    *(KEPT_MAX, self._limits.retention_s),
                ],
            )
            for turn in turns
        ]
        if b"lost" in await self._store.call_many(calls):
            raise self._lost()
