"""Where every webhook delivery is, and whether every key has an end.

A delivery is in exactly one place: a delivery stream, the retry schedule, its endpoint's parked
list, or a final state. `check_places` walks all rosters of a store and says where each one is, or
fails. `check_keys` holds what the store has against the table in `app/store/keys.py`.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from app.domain.delivery import FINAL, State
from app.domain.ids import WebhookDelivery
from app.store import keys
from app.store.client import Store
from app.store.replies import pairs
from app.wire import (
    Record,
    decode_deliveries,
    decode_event,
    decode_record,
    decode_roster,
    stream_fields,
)

FIRST, AGAIN, SCHEDULE, PARKED = "deliveries", "redeliveries", "retries", "parked"


@dataclass(frozen=True, slots=True)
class Found:
    """One delivery: its place (a stream, a set, or its final state) and its record."""

    place: str
    record: Record | None


async def check_places(store: Store, shards: int) -> dict[str, Found]:
    """Every webhook delivery's place by its id. Fails when one is nowhere, or in two places."""
    contents = await _read(store)
    found: dict[str, Found] = {}
    tallies: defaultdict[bytes, Counter[str]] = defaultdict(Counter)
    standing = [_standing(contents, shard) for shard in range(shards)]
    for name, raw in contents.items():
        if not name.startswith(b"roster:"):
            continue
        shard, post, version, slice_ = _roster_place(name)
        roster, tally = decode_roster(raw), tallies[keys.tally(shard, post)]
        outcomes = contents.get(keys.outcomes(shard, post, version, slice_), [])
        records = {id_.decode(): decode_record(record) for id_, record in pairs(outcomes)}
        tally["recipients"] += len(roster.users)
        for endpoint in (endpoint for ids in roster.endpoints for endpoint in ids):
            delivery = str(WebhookDelivery(post, version, slice_, endpoint))
            record = records.pop(endpoint, None)
            found[delivery] = _place(delivery, record, standing[shard])
            tally["webhooks"] += 1
            if record is not None:
                tally[record.state.value.lower()] += 1
        assert not records, f"records of nobody in the roster: {records}"
    for name, ledger in tallies.items():
        tally = {state.decode(): int(number) for state, number in pairs(contents.get(name, []))}
        assert +Counter(tally) == ledger, f"{name!r} says {tally}, the ledger {ledger}"
    return found


_READ = {
    b"roster": ("GET",),
    b"outcomes": ("HGETALL",),
    b"tally": ("HGETALL",),
    b"posts": ("XRANGE", "-", "+"),
    b"deliveries": ("XRANGE", "-", "+"),
    b"redeliveries": ("XRANGE", "-", "+"),
    b"retries": ("ZRANGE", 0, -1),
    b"dead": ("ZRANGE", 0, -1),
    b"parked": ("ZRANGE", 0, -1),
}


async def _read(store: Store) -> dict[bytes, Any]:
    """What the keys hold that tell of deliveries, by their names, in two round trips.

    Fails when a stream keeps an entry that was acknowledged: what was read must be pending.
    """
    names = [name for name in await _names(store, "*") if name.partition(b":")[0] in _READ]
    reads = [(name, _READ[name.partition(b":")[0]]) for name in names]
    commands: list[tuple[Any, ...]] = [(verb, name, *rest) for name, (verb, *rest) in reads]
    streams = [name for name, (verb, *_) in reads if verb == "XRANGE"]
    for name in streams:
        commands.append(("XINFO", "GROUPS", name))
        commands.append(("XPENDING", name, keys.GROUP, "-", "+", 1_000_000))
    replies = await store.run_many(commands, return_exceptions=True)
    contents = dict(zip(names, replies, strict=False))
    groups, pending = replies[len(names) :: 2], replies[len(names) + 1 :: 2]
    for name, of_stream, rows in zip(streams, groups, pending, strict=True):
        for group in of_stream:
            last = _order(stream_fields(group)[b"last-delivered-id"])
            read = [id_ for id_, _ in contents[name] if _order(id_) <= last]
            assert read == [row[0] for row in rows], name
    return contents


def _order(entry: bytes) -> tuple[int, ...]:
    return tuple(map(int, entry.split(b"-")))


def _place(delivery: str, record: Record | None, standing: dict[str, set[str]]) -> Found:
    here = {name for name, ids in standing.items() if delivery in ids}
    if record is None:
        # What has a record may stand in an entry whose other deliveries are not dealt with yet;
        # only without one is the entry its place.
        assert here == {FIRST}, f"{delivery} without a record is in {here or 'no place'}"
        return Found(FIRST, None)
    here.discard(FIRST)
    if record.state in FINAL:
        # A ticket for it in the stream is void: whoever reads it finds the state and drops it.
        here.discard(AGAIN)
        assert here <= {"dead"} if record.state is State.DEAD else not here, (delivery, here)
        return Found(record.state.word, record)
    if here & {SCHEDULE, PARKED}:
        here.discard(AGAIN)  # as void as that of a final one: its place is where it waits
    expected = {PARKED} if record.state.is_parked else {SCHEDULE, AGAIN}
    assert len(here) == 1, f"{delivery}, {record.state.name}, is in {here or 'no place'}"
    assert here <= expected, f"{delivery}, {record.state.name}, is in {here}"
    return Found(here.pop(), record)


def _standing(contents: dict[bytes, Any], shard: int) -> dict[str, set[str]]:
    """The deliveries that stand at each place of a shard."""
    first = contents.get(keys.deliveries(shard), [])
    again = contents.get(keys.redeliveries(shard), [])
    standing = {
        FIRST: {id_ for _, raw in first for id_ in _of_slice(stream_fields(raw))},
        AGAIN: {stream_fields(raw)[b"d"].decode() for _, raw in again},
        SCHEDULE: _ids(contents.get(keys.retries(shard), [])),
        "dead": _ids(contents.get(keys.dead(shard), [])),
        PARKED: set(),
    }
    for name, members in contents.items():
        if name.startswith(b"parked:{%d}:" % shard):
            endpoint = name.decode().rpartition(":")[2]
            assert all(id_.endswith(f"-{endpoint}") for id_ in _ids(members)), (name, members)
            standing[PARKED] |= _ids(members)
    return standing


def _ids(members: Iterable[bytes]) -> set[str]:
    return {id_.decode() for id_ in members}


def _of_slice(fields: dict[bytes, bytes]) -> list[str]:
    if b"e" not in fields:
        return []  # a canary
    event, slice_ = decode_event(fields[b"e"]), int(fields[b"s"])
    return [
        str(WebhookDelivery(event.post, event.version, slice_, endpoint))
        for endpoint, _, _ in decode_deliveries(fields[b"d"])
    ]


def _roster_place(name: bytes) -> tuple[int, str, int, int]:
    _, tag, post, version, slice_ = name.decode().split(":")
    return int(tag[1:-1]), post, int(version), int(slice_)


async def _names(store: Store, pattern: str) -> list[bytes]:
    return sorted(name for names in await store.broadcast("KEYS", pattern) for name in names)


@dataclass(frozen=True, slots=True)
class Documented:
    """One row of the table of keys."""

    pattern: str
    type: str
    bound: str
    ends: str

    @property
    def prefix(self) -> str:
        return self.pattern.partition(":")[0]

    @property
    def has_ttl(self) -> bool:
        return self.ends.startswith("TTL ")


def documented_keys() -> dict[str, Documented]:
    """The table in `app/store/keys.py` by the first word of the key."""
    text = keys.__doc__ or ""
    lines = text[text.index("    key ") :].splitlines()
    columns = [match.start() for match in re.finditer(r"\S+", lines[0])]
    rows: list[list[str]] = []
    for line in filter(None, lines[1:]):
        cells = [line[a:b].strip() for a, b in zip(columns, [*columns[1:], 999], strict=True)]
        if cells[0]:
            rows.append(cells)
        else:  # a cell that goes on in a second line
            rows[-1] = [" ".join(filter(None, two)) for two in zip(rows[-1], cells, strict=True)]
    found = [Documented(*cells) for cells in rows]
    assert len({row.prefix for row in found}) == len(found)
    return {row.prefix: row for row in found}


async def check_keys(store: Store, but: Iterable[bytes] = ()) -> dict[str, int]:
    """How many keys there are of each kind. Fails on one that is not in the table, is of another
    type, or has no TTL where the table says that it has one (or the other way round)."""
    table = documented_keys()
    seen: Counter[str] = Counter()
    for name in await _names(store, "*"):
        if name in but:
            continue
        row = table.get(name.partition(b":")[0].decode())
        assert row is not None, f"{name!r} is not documented"
        type_ = (await store.execute("TYPE", name)).decode()
        assert type_ == row.type, f"{name!r} is a {type_}, documented as {row.type}"
        ttl_ms: Any = await store.execute("PTTL", name)
        assert (ttl_ms > 0) == row.has_ttl, f"{name!r}: TTL {ttl_ms} ms, documented: {row.ends}"
        seen[row.prefix] += 1
    return seen
