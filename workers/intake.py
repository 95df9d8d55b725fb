"""From entries of the delivery streams to deliveries that can be sent, in a few round trips."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.clock import now_ms
from app.domain.delivery import State
from app.domain.ids import WebhookDelivery, parse_delivery_id
from app.domain.post import Event, EventKind, Post
from app.errors import DecodeError
from app.store import canary, keys
from app.store.bodies import Bodies
from app.store.client import Store
from app.wire import (
    Record,
    decode_deliveries,
    decode_event,
    decode_record,
    decode_roster,
    stream_fields,
    traceparent_of,
)
from workers.delivery import Entry, Item
from workers.dispatch import Dispatch
from workers.made_bodies import kind_of, size_of
from workers.targets import Targets

if TYPE_CHECKING:
    from workers.sender import SenderShard

log = logging.getLogger(__name__)

PART_ROWS = 256  # deliveries made ready before the loop gets to do something else
FRESH_MS = 5_000  # so long after its fan-out a delivery is sent without looking at blocks again

Fields = dict[bytes, bytes]
Ending = tuple[State, str]  # what becomes of a delivery without an attempt, and why


@dataclass(frozen=True, slots=True)
class Slice:
    """An entry of `deliveries`: `rows` are endpoint, recipient and offset. `is_large`: the whole
    event goes to very many. `traceparent` is there when the slice is traced."""

    entry: bytes
    event: Event
    number: int
    rows: list[tuple[str, str, int]]
    is_large: bool = False
    traceparent: bytes | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """An entry of `redeliveries`."""

    entry: bytes
    delivery: WebhookDelivery


@dataclass(slots=True)
class Admitted:
    """What is left to do of one entry. Items in `endings` are not to be sent. `author` is that of
    the post, "" when it is no longer kept; `is_large`: the whole event goes to very many."""

    entry: Entry
    author: str = ""
    is_large: bool = False
    items: list[Item] = field(default_factory=list[Item])
    endings: dict[Item, Ending] = field(default_factory=dict[Item, Ending])


def parse_slice(entry: bytes, fields: Fields) -> Slice:
    """Raises `DecodeError`."""
    try:
        rows = decode_deliveries(fields[b"d"])
        event, number = decode_event(fields[b"e"]), int(fields[b"s"])
        return Slice(entry, event, number, rows, b"l" in fields, traceparent_of(fields))
    except (KeyError, ValueError) as error:
        raise DecodeError("slice", entry) from error


def parse_again(entry: bytes, fields: Fields) -> Again:
    """Raises `DecodeError`."""
    delivery = parse_delivery_id(fields.get(b"d", b"").decode("ascii", "replace"))
    if not isinstance(delivery, WebhookDelivery):
        raise DecodeError("delivery id", entry)
    return Again(entry, delivery)


class Intake:
    """Makes the deliveries of one shard ready: recipient, record, body and target."""

    def __init__(
        self, store: Store, *, shard: int, bodies: Bodies, targets: Targets, dispatch: Dispatch
    ) -> None:
        self._store = store
        self._shard = shard
        self._bodies = bodies
        self._targets = targets
        self._dispatch = dispatch

    async def admit(
        self, owner: "SenderShard", entries: Sequence[Any], again: bool, *, pending: bool
    ) -> None:
        """Offers its owner what is in entries of a stream, but those that are there already."""
        fresh: list[Slice | Again] = []
        rows = 0
        for id_, raw in entries:
            if owner.knows(id_, again):
                continue
            fields = stream_fields(raw or ())
            if b"k" in fields and not again:
                await self._note_canary(fields[b"k"])
                owner.close_entry(Entry(id_, again))
                continue
            try:
                read = parse_again(id_, fields) if again else parse_slice(id_, fields)
            except DecodeError as error:
                self._drop_unreadable(owner, Entry(id_, again), error, fields)
                continue
            fresh.append(read)
            rows += 1 if isinstance(read, Again) else len(read.rows)
            if rows >= PART_ROWS:
                await self._admit_part(owner, fresh, pending)
                fresh, rows = [], 0
                await asyncio.sleep(0)
        await self._admit_part(owner, fresh, pending)

    async def _admit_part(
        self, owner: "SenderShard", fresh: Sequence[Slice | Again], pending: bool
    ) -> None:
        """When something in the ledger cannot be read, finds out whose it is, and drops that entry
        alone."""
        slices = [each for each in fresh if isinstance(each, Slice)]
        again = [each for each in fresh if isinstance(each, Again)]
        admitted: list[Admitted] = []
        try:
            if slices:
                admitted += await self.slices(owner, slices, pending)
            if again:
                admitted += await self.again(owner, again)
        except DecodeError as error:
            if len(fresh) == 1:
                [one] = fresh
                entry = Entry(one.entry, isinstance(one, Again))
                self._drop_unreadable(owner, entry, error, {})
                return
            for each in fresh:
                await self._admit_part(owner, [each], pending)
            return
        owner.offer(admitted)

    def _drop_unreadable(
        self, owner: "SenderShard", entry: Entry, error: DecodeError, fields: Fields
    ) -> None:
        extra = {"shard": self._shard, "entry": entry.id, "fields": fields, "error": str(error)}
        log.error("entry cannot be read", extra=extra)
        owner.close_entry(entry)

    async def _note_canary(self, born: bytes) -> None:
        if born.isdigit():
            await canary.arrived(self._store, self._shard, int(born))

    async def slices(
        self, owner: "SenderShard", slices: Sequence[Slice], pending: bool
    ) -> list[Admitted]:
        """With `pending`, what the ledger has a record of is left out: it is somewhere else."""
        for slice_ in slices:
            if slice_.event.kind is EventKind.DELETED:
                self._bodies.forget(slice_.event.post)
                self._dispatch.cancel_post(slice_.event.post)
        done = await self._done_before(slices) if pending else [frozenset[str]()] * len(slices)
        old_ms = now_ms() - FRESH_MS
        admitted: list[Admitted] = []
        aged: list[Item] = []
        for slice_, known in zip(slices, done, strict=True):
            made = Admitted(Entry(slice_.entry, False), is_large=slice_.is_large)
            made.entry.traceparent = slice_.traceparent
            made.items = [
                Item(owner, made.entry, slice_.event, slice_.number, endpoint, user, offset)
                for endpoint, user, offset in slice_.rows
                if endpoint not in known
            ]
            admitted.append(made)
            if int(slice_.entry.partition(b"-")[0]) < old_ms:
                aged += made.items
        posts = await self._bodies.get([slice_.event for slice_ in slices])
        await self._complete(admitted, posts, aged)
        return admitted

    async def _done_before(self, slices: Sequence[Slice]) -> list[frozenset[str]]:
        answers = await self._store.run_many(
            [
                ("HKEYS", keys.outcomes(self._shard, s.event.post, s.event.version, s.number))
                for s in slices
            ]
        )
        return [frozenset(map(bytes.decode, found)) for found in answers]

    async def again(self, owner: "SenderShard", entries: Sequence[Again]) -> list[Admitted]:
        """Entries without an item left are of deliveries that are over, or no longer kept."""
        rows = await self._ledger_rows([entry.delivery for entry in entries])
        posts = await self._bodies.get(
            [Event(e.delivery.post, e.delivery.version, EventKind.CREATED) for e in entries]
        )
        admitted: list[Admitted] = []
        for again, row in zip(entries, rows, strict=True):
            made = Admitted(Entry(again.entry, True))
            admitted.append(made)
            if row is not None:
                made.items.append(self._item_again(owner, made.entry, again, row, posts))
        await self._complete(admitted, posts, [item for made in admitted for item in made.items])
        return admitted

    def _item_again(
        self,
        owner: "SenderShard",
        entry: Entry,
        again: Again,
        row: tuple[str, int, Record],
        posts: dict[str, Post | None],
    ) -> Item:
        delivery, (user, offset, record) = again.delivery, row
        post = posts[delivery.post]
        kind = kind_of(post, delivery.version) if post else EventKind.CREATED
        entry.traceparent = post.traceparent_of(delivery.version) if post else None
        event = Event(delivery.post, delivery.version, kind)
        item = Item(owner, entry, event, delivery.slice, delivery.endpoint, user, offset)
        item.attempts, item.base = record.attempts, record.base
        item.status, item.error = record.status, record.error
        item.due_ms = record.due_ms
        return item

    async def _ledger_rows(
        self, deliveries: Sequence[WebhookDelivery]
    ) -> list[tuple[str, int, Record] | None]:
        """Recipient, offset and record of each; None where there is nothing to be sent now.

        A delivery that is final, parked, or scheduled for later is not to be sent for its entry
        here: that is left over from before a call cancelled it or sent it again.
        """
        shard = self._shard
        raws = await self._store.run_many(
            [
                command
                for d in deliveries
                for command in (
                    ("GET", keys.roster(shard, d.post, d.version, d.slice)),
                    ("HGET", keys.outcomes(shard, d.post, d.version, d.slice), d.endpoint),
                    ("ZSCORE", keys.retries(shard), str(d)),
                )
            ]
        )
        columns = raws[0::3], raws[1::3], raws[2::3], deliveries
        return [
            _row(roster, record, delivery.endpoint) if roster and record and due is None else None
            for roster, record, due, delivery in zip(*columns, strict=True)
        ]

    async def _complete(
        self, admitted: Sequence[Admitted], posts: dict[str, Post | None], asked: Sequence[Item]
    ) -> None:
        """Gives each item its target and body, or its ending."""
        blocked = await self._blocked(asked, posts) if asked else frozenset[Item]()
        found = await self._targets.load({i.endpoint for made in admitted for i in made.items})
        for made in admitted:
            post = posts.get(made.items[0].event.post) if made.items else None
            # All items of an entry are of one event, and it makes one body for them.
            body = None if post is None else self._dispatch.body_of(post, made.items[0].event)
            made.entry.size = 0 if body is None else size_of(body)
            made.author = "" if post is None else post.author
            for item in made.items:
                item.target = found.targets.get(item.endpoint)
                item.body = body
                ending = _ending(item, post, blocked, found.unusable)
                if ending is not None:
                    made.endings[item] = ending

    async def _blocked(
        self, items: Sequence[Item], posts: dict[str, Post | None]
    ) -> frozenset[Item]:
        """Those whose recipient has blocked the author, or been blocked, since the fan-out.

        A deletion goes to them all the same: it is what takes the post away again.
        """
        asked = [item for item in items if item.event.kind is not EventKind.DELETED]
        commands: list[tuple[Any, ...]] = []
        for item in asked:
            post = posts.get(item.event.post)
            author = post.author if post else ""
            commands.append(("ZSCORE", keys.blocks(self._shard, item.user), author))
            commands.append(("ZSCORE", keys.blockers(self._shard, item.user), author))
        scores = await self._store.run_many(commands)
        pairs = zip(asked, scores[0::2], scores[1::2], strict=True)
        return frozenset(item for item, *both in pairs if both != [None, None])


def _ending(
    item: Item, post: Post | None, blocked: frozenset[Item], unusable: frozenset[str]
) -> Ending | None:
    if post is None:
        return State.SUPPRESSED, "expired"
    if post.deleted and item.event.kind is not EventKind.DELETED:
        return State.CANCELLED, "deleted"
    if item in blocked:
        return State.SUPPRESSED, "blocked"
    if item.endpoint in unusable:
        return State.PENDING, "unusable"
    return (State.SUPPRESSED, "no_endpoint") if item.target is None else None


def _row(raw_roster: bytes, raw_record: bytes, endpoint: str) -> tuple[str, int, Record] | None:
    """Raises `DecodeError`."""
    record = decode_record(raw_record)
    if record.state.is_final or record.state.is_parked:
        return None
    roster = decode_roster(raw_roster)
    for user, offset, endpoints in zip(roster.users, roster.offsets, roster.endpoints, strict=True):
        if endpoint in endpoints:
            return user, offset, record
    return None
