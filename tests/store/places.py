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
    found: dict[str, Found] = {}
    tallies: defaultdict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    standing = [await _standing(store, shard) for shard in range(shards)]
    for name in await _names(store, "roster:*"):
        shard, post, version, slice_ = _roster_place(name)
        tally = tallies[shard, post]
        roster = decode_roster(await store.execute("GET", name))
        key = keys.outcomes(shard, post, version, slice_)
        records = {
            id_.decode(): decode_record(raw)
            for id_, raw in pairs(await store.execute("HGETALL", key))
        }
        tally["recipients"] += len(roster.users)
        for endpoint in (endpoint for ids in roster.endpoints for endpoint in ids):
            delivery = str(WebhookDelivery(post, version, slice_, endpoint))
            record = records.pop(endpoint, None)
            found[delivery] = _place(delivery, record, standing[shard])
            tally["webhooks"] += 1
            if record is not None:
                tally[record.state.value.lower()] += 1
        assert not records, f"records of nobody in the roster: {records}"
    for (shard, post), expected in tallies.items():
        raw = await store.execute("HGETALL", keys.tally(shard, post))
        tally = {name.decode(): int(value) for name, value in pairs(raw)}
        assert +Counter(tally) == expected, f"tally {tally} of {post}, ledger {expected}"
    for shard in range(shards):
        await _check_streams(store, shard)
    return found


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
    expected = {PARKED} if record.state.is_parked else {SCHEDULE, AGAIN}
    assert len(here) == 1, f"{delivery}, {record.state.name}, is in {here or 'no place'}"
    assert here <= expected, f"{delivery}, {record.state.name}, is in {here}"
    return Found(here.pop(), record)


async def _standing(store: Store, shard: int) -> dict[str, set[str]]:
    """The deliveries that stand at each place of a shard."""
    standing: dict[str, set[str]] = {FIRST: set(), AGAIN: set(), PARKED: set()}
    for _, raw in await store.execute("XRANGE", keys.deliveries(shard), "-", "+"):
        fields = stream_fields(raw)
        if b"e" in fields:
            event, slice_ = decode_event(fields[b"e"]), int(fields[b"s"])
            standing[FIRST] |= {
                str(WebhookDelivery(event.post, event.version, slice_, endpoint))
                for endpoint, _, _ in decode_deliveries(fields[b"d"])
            }
    for _, raw in await store.execute("XRANGE", keys.redeliveries(shard), "-", "+"):
        standing[AGAIN].add(stream_fields(raw)[b"d"].decode())
    for name in await _names(store, f"parked:{{{shard}}}:*"):
        members = {id_.decode() for id_ in await store.execute("ZRANGE", name, 0, -1)}
        endpoint = name.rpartition(b":")[2].decode()
        assert all(id_.endswith(f"-{endpoint}") for id_ in members), (name, members)
        standing[PARKED] |= members
    for place, key in ((SCHEDULE, keys.retries(shard)), ("dead", keys.dead(shard))):
        members = await store.execute("ZRANGE", key, 0, -1)
        standing[place] = {id_.decode() for id_ in members}
    return standing


async def _check_streams(store: Store, shard: int) -> None:
    """No stream keeps an entry that was acknowledged: what was read is pending."""
    for key in (keys.deliveries(shard), keys.redeliveries(shard), keys.posts(shard)):
        if await store.execute("TYPE", key) != b"stream":
            continue
        for group in await store.execute("XINFO", "GROUPS", key):
            facts = stream_fields(group)
            read = await store.execute("XRANGE", key, "-", facts[b"last-delivered-id"])
            pending = await store.execute("XPENDING", key, keys.GROUP, "-", "+", len(read) + 1)
            assert [id_ for id_, _ in read] == [row[0] for row in pending], key


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
