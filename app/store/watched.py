"""One post as somebody watches it: all its deliveries, and again and again what has changed.

The rosters of a version never change, so each is read once. Of what came of them only that is read
again which can have changed: the outcomes where the tally says that something did, and the cursors
of those who have not got it over a socket yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from app.domain.delivery import State
from app.errors import PostNotFound
from app.store import keys
from app.store.client import Store
from app.store.deliveries import Place
from app.store.posts import Posts, Progress
from app.store.replies import pairs
from app.wire import Roster, decode_record, decode_roster

RECIPIENTS_MAX: Final = 10_000  # of more, only the first are watched
READ_MAX: Final = 128  # rosters, or what came of them, read at once

_PENDING: Final = State.PENDING.value


@dataclass(slots=True)
class _Part:
    """What one roster stands for. `first` is the number of its first recipient among all, `rows`
    the numbers of its webhook deliveries, by endpoint."""

    place: Place
    roster: Roster
    first: int
    rows: dict[bytes, int]
    waiting: list[int]  # recipients, by their place in the roster, whose cursor is before it
    records: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    open: int = 0  # webhook deliveries that are not final


@dataclass(slots=True)
class Change:
    """What is new since the look before. Recipients and webhook deliveries are numbered from 0 in
    the order of their coming; a webhook delivery's state is its letter in the ledger.

    `whole`: what was known before is void, and this is everything.
    """

    version: int
    fanned_out: bool
    whole: bool = False
    cut: bool = False  # there are more recipients than are watched
    users: list[str] = field(default_factory=list[str])
    places: list[tuple[int, int, int]] = field(default_factory=list[tuple[int, int, int]])
    recipients: list[int] = field(default_factory=list[int])  # of each new webhook delivery
    endpoints: list[str] = field(default_factory=list[str])
    rows: list[int] = field(default_factory=list[int])  # webhook deliveries with another state
    states: list[str] = field(default_factory=list[str])
    attempts: list[int] = field(default_factory=list[int])
    passed: list[int] = field(default_factory=list[int])  # recipients who got it over a socket
    has_turned: bool = False  # `fanned_out` is another than it was

    @property
    def is_empty(self) -> bool:
        return not (self.whole or self.users or self.rows or self.passed or self.has_turned)

    def as_fields(self) -> dict[str, Any]:
        """Columns for JSON. `places` has slice, shard and number of recipients of each roster, from
        which, in this order, the ids of all deliveries follow."""
        return {
            "version": self.version,
            "fanned_out": self.fanned_out,
            "whole": self.whole,
            "cut": self.cut,
            "users": self.users,
            "places": self.places,
            "recipients": self.recipients,
            "endpoints": self.endpoints,
            "rows": self.rows,
            "states": "".join(self.states),
            "attempts": self.attempts,
            "passed": self.passed,
        }


class WatchedPost:
    """The newest version of a post, as far as it was looked at."""

    def __init__(
        self,
        store: Store,
        shards: int,
        posts: Posts,
        post_id: str,
        *,
        recipients_max: int = RECIPIENTS_MAX,
    ) -> None:
        self._store = store
        self._shards = shards
        self._posts = posts
        self.id = post_id
        self._recipients_max = recipients_max
        self._begin(0)

    def _begin(self, version: int) -> None:
        self._version = version
        self._parts: dict[int, _Part] = {}  # by the number of the roster
        self._recipients = 0
        self._states: list[str] = []  # of webhook deliveries
        self._attempts: list[int] = []
        self._tallies: dict[int, list[bytes]] = {}
        self._fanned_out = False
        self._is_complete = False  # every roster that there will be is known
        self.is_cut = False

    @property
    def is_settled(self) -> bool:
        """Whether nothing more will come of itself."""
        parts = self._parts.values()
        return self._is_complete and not any(part.open or part.waiting for part in parts)

    async def look(self, *, thorough: bool = False) -> Change:
        """What has changed since the look before; all, at the first one and for another version.

        A `thorough` one does not rely on the tally, which another try of a delivery that goes on
        failing does not change. Raises PostNotFound and StoreError; what had been read before that
        is told by `whole` alone.
        """
        progress = await self._posts.progress(self.id)
        if progress is None:
            raise PostNotFound(f"there is no post {self.id}, or it is no longer kept")
        is_new = progress.version != self._version
        if is_new:
            self._begin(progress.version)
        change = Change(self._version, progress.fanned_out, whole=is_new)
        await self._read_rosters(progress, change)
        await self._read_outcomes(change, thorough=thorough)
        await self._read_cursors(change)
        change.has_turned = self._fanned_out is not progress.fanned_out
        self._fanned_out = progress.fanned_out
        change.cut = self.is_cut
        return change

    def whole(self) -> Change:
        """All that is known, for somebody who has seen nothing yet."""
        change = Change(self._version, self._fanned_out, whole=True, cut=self.is_cut)
        for part in self._parts.values():
            _tell_part(part, change)
            passed = set(range(len(part.roster.users))).difference(part.waiting)
            change.passed += [part.first + index for index in sorted(passed)]
        for row, state in enumerate(self._states):
            if state != _PENDING or self._attempts[row]:
                self._tell_row(row, change)
        return change

    # Rosters

    async def _read_rosters(self, progress: Progress, change: Change) -> None:
        if self._is_complete:
            return
        wanted = [
            number for number in range(progress.slices * self._shards) if number not in self._parts
        ]
        for start in range(0, len(wanted), READ_MAX):
            numbers = wanted[start : start + READ_MAX]
            places = [self._place(number) for number in numbers]
            raws = await self._store.run_many([("GET", place.roster_key) for place in places])
            for number, place, raw in zip(numbers, places, raws, strict=True):
                if raw is not None:
                    self._add(number, place, decode_roster(raw), change)
            if self._recipients >= self._recipients_max:
                self.is_cut = self.is_cut or start + READ_MAX < len(wanted)
                self._is_complete = self.is_cut or progress.fanned_out
                return
        self._is_complete = progress.fanned_out

    def _place(self, number: int) -> Place:
        slice_, shard = divmod(number, self._shards)
        return Place(self.id, self._version, slice_, shard)

    def _add(self, number: int, place: Place, roster: Roster, change: Change) -> None:
        room = self._recipients_max - self._recipients
        if len(roster.users) > room:
            self.is_cut = True
            if room <= 0:
                return
            roster = Roster(
                roster.users[:room], roster.offsets[:room], roster.endpoints[:room], roster.at_ms
            )
        part = _Part(place, roster, self._recipients, {}, list(range(len(roster.users))))
        for endpoints in roster.endpoints:
            for endpoint in endpoints:
                part.rows[endpoint.encode()] = len(self._states)
                self._states.append(_PENDING)
                self._attempts.append(0)
        part.open = len(part.rows)
        self._recipients += len(roster.users)
        self._parts[number] = part
        _tell_part(part, change)

    # What became of them

    async def _read_outcomes(self, change: Change, *, thorough: bool) -> None:
        shards = {part.place.shard for part in self._parts.values() if part.rows}
        moved = await self._moved(sorted(shards))
        parts = [
            part
            for part in self._parts.values()
            if part.rows and (part.place.shard in moved or (thorough and part.open))
        ]
        for start in range(0, len(parts), READ_MAX):
            some = parts[start : start + READ_MAX]
            replies = await self._store.run_many(
                [("HGETALL", part.place.outcomes_key) for part in some]
            )
            for part, flat in zip(some, replies, strict=True):
                self._take_records(part, flat, change)
        self._tallies |= moved  # only now: what could not be read has moved still

    async def _moved(self, shards: Sequence[int]) -> dict[int, list[bytes]]:
        """The post's tally in the shards where it is another than at the look before."""
        replies = await self._store.run_many(
            [("HGETALL", keys.tally(shard, self.id)) for shard in shards]
        )
        return {
            shard: tally
            for shard, tally in zip(shards, replies, strict=True)
            if self._tallies.get(shard) != tally
        }

    def _take_records(self, part: _Part, flat: Sequence[bytes], change: Change) -> None:
        records = part.records
        for endpoint, raw in pairs(flat):
            if records.get(endpoint) == raw or (row := part.rows.get(endpoint)) is None:
                continue
            records[endpoint] = raw
            record = decode_record(raw)
            was_final = State(self._states[row]).is_final
            part.open += int(was_final) - int(record.state.is_final)
            self._states[row] = record.state.value
            self._attempts[row] = record.attempts
            self._tell_row(row, change)

    def _tell_row(self, row: int, change: Change) -> None:
        change.rows.append(row)
        change.states.append(self._states[row])
        change.attempts.append(self._attempts[row])

    async def _read_cursors(self, change: Change) -> None:
        parts = [part for part in self._parts.values() if part.waiting]
        for start in range(0, len(parts), READ_MAX):
            some = parts[start : start + READ_MAX]
            replies = await self._store.run_many(
                [
                    (
                        "HMGET",
                        keys.cursors(part.place.shard),
                        *(part.roster.users[index] for index in part.waiting),
                    )
                    for part in some
                ]
            )
            for part, cursors in zip(some, replies, strict=True):
                _take_cursors(part, cursors, change)


def _tell_part(part: _Part, change: Change) -> None:
    roster = part.roster
    change.users += roster.users
    change.places.append((part.place.slice, part.place.shard, len(roster.users)))
    for index, endpoints in enumerate(roster.endpoints):
        for endpoint in endpoints:
            change.recipients.append(part.first + index)
            change.endpoints.append(endpoint)


def _take_cursors(part: _Part, cursors: Sequence[bytes | None], change: Change) -> None:
    offsets, still = part.roster.offsets, list[int]()
    for index, cursor in zip(part.waiting, cursors, strict=True):
        if cursor is not None and int(cursor) >= offsets[index]:
            change.passed.append(part.first + index)
        else:
            still.append(index)
    part.waiting = still
