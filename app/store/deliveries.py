"""Deliveries as rows: who a roster says it went to, and what the outcomes say became of it.

A webhook delivery without a record is pending. A socket delivery never has one: its state follows
from the recipient's cursor and the offset in the roster.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.delivery import State
from app.domain.ids import SocketDelivery, WebhookDelivery
from app.store import keys
from app.store.client import Store
from app.store.replies import pairs
from app.wire import Record, Roster, decode_record, decode_roster


@dataclass(frozen=True, slots=True)
class Delivery:
    """One row of the ledger. `state` is the API's word; times in milliseconds, None: not known.

    A delivery that nothing was written about since was updated when it was fanned out; a socket
    delivery always, because nothing is ever written about one.
    """

    id: str
    post: str
    version: int
    recipient: str
    offset: int
    channel: str
    endpoint: str | None
    state: str
    parked: bool
    attempts: int
    last_status: int | None
    last_error: str | None
    next_attempt_at_ms: int | None
    updated_at_ms: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a roster stands: post, version, slice and shard."""

    post: str
    version: int
    slice: int
    shard: int

    @classmethod
    def of(cls, delivery: WebhookDelivery | SocketDelivery) -> "Place":
        return cls(delivery.post, delivery.version, delivery.slice, delivery.shard)

    @property
    def roster_key(self) -> bytes:
        return keys.roster(self.shard, self.post, self.version, self.slice)

    @property
    def outcomes_key(self) -> bytes:
        return keys.outcomes(self.shard, self.post, self.version, self.slice)


async def read_rows(store: Store, places: Sequence[Place]) -> list[list[Delivery]]:
    """All rows of each place, none where there is no roster, in two round trips."""
    raws = await store.run_many(
        [
            command
            for place in places
            for command in (("GET", place.roster_key), ("HGETALL", place.outcomes_key))
        ]
    )
    rosters = [decode_roster(raw) if raw else None for raw in raws[0::2]]
    found = [(place, roster) for place, roster in zip(places, rosters, strict=True) if roster]
    read = iter(
        await store.run_many(
            [
                (*("HMGET", key), *roster.users)
                for place, roster in found
                for key in (keys.cursors(place.shard), keys.repushes(place.shard))
            ]
        )
    )
    return [
        _rows(place, roster, outcomes, next(read), next(read)) if roster else []
        for place, roster, outcomes in zip(places, rosters, raws[1::2], strict=True)
    ]


async def read_webhooks(
    store: Store, deliveries: Sequence[WebhookDelivery]
) -> list[Delivery | None]:
    """One row for each, in one round trip; None for one that is not in the ledger (any more)."""
    places = [Place.of(delivery) for delivery in deliveries]
    raws = await store.run_many(
        [
            command
            for place, delivery in zip(places, deliveries, strict=True)
            for command in (
                ("GET", place.roster_key),
                ("HGET", place.outcomes_key, delivery.endpoint),
            )
        ]
    )
    return [
        _webhook_of(place, delivery.endpoint, roster, record) if roster else None
        for place, delivery, roster, record in zip(
            places, deliveries, raws[0::2], raws[1::2], strict=True
        )
    ]


async def read_socket(store: Store, delivery: SocketDelivery) -> Delivery | None:
    (rows,) = await read_rows(store, [Place.of(delivery)])
    return next((row for row in rows if row.id == str(delivery)), None)


def _rows(
    place: Place,
    roster: Roster,
    outcomes: Sequence[Any],
    cursors: Sequence[bytes | None],
    repushes: Sequence[bytes | None],
) -> list[Delivery]:
    records = {id_.decode(): decode_record(value) for id_, value in pairs(outcomes)}
    rows: list[Delivery] = []
    for index, endpoints in enumerate(roster.endpoints):
        rows.append(_socket(place, roster, index, int(cursors[index] or 0), repushes[index]))
        rows += _webhooks(place, roster, index, endpoints, records)
    return rows


def _webhooks(
    place: Place,
    roster: Roster,
    index: int,
    endpoints: Sequence[str],
    records: Mapping[str, Record],
) -> list[Delivery]:
    return [
        _webhook(place, roster, index, endpoint, records.get(endpoint)) for endpoint in endpoints
    ]


def _webhook_of(
    place: Place, endpoint: str, raw_roster: bytes, raw_record: bytes | None
) -> Delivery | None:
    roster = decode_roster(raw_roster)
    record = decode_record(raw_record) if raw_record else None
    for index, endpoints in enumerate(roster.endpoints):
        if endpoint in endpoints:
            return _webhook(place, roster, index, endpoint, record)
    return None


def _socket(
    place: Place, roster: Roster, index: int, cursor: int, repush: bytes | None
) -> Delivery:
    offset = roster.offsets[index]
    delivered = cursor >= offset
    return Delivery(
        id=str(SocketDelivery(place.post, place.version, place.slice, place.shard, index)),
        post=place.post,
        version=place.version,
        recipient=roster.users[index],
        offset=offset,
        channel="socket",
        endpoint=None,
        state="delivered" if delivered else "pending",
        parked=False,
        attempts=max(_pushes(repush, offset), 1 if delivered else 0),
        last_status=None,
        last_error=None,
        next_attempt_at_ms=None,
        updated_at_ms=roster.at_ms,
    )


def _pushes(raw: bytes | None, offset: int) -> int:
    """How often an offset was pushed beyond the first time, where a gateway noted it."""
    if raw is None:
        return 0
    noted, _, attempts = raw.partition(b":")
    return int(attempts) if int(noted) == offset else 0


def _webhook(
    place: Place, roster: Roster, index: int, endpoint: str, record: Record | None
) -> Delivery:
    seen = record or Record(State.PENDING, 0)
    return Delivery(
        id=str(WebhookDelivery(place.post, place.version, place.slice, endpoint)),
        post=place.post,
        version=place.version,
        recipient=roster.users[index],
        offset=roster.offsets[index],
        channel="webhook",
        endpoint=endpoint,
        state=seen.state.word,
        parked=seen.state.is_parked,
        attempts=seen.attempts,
        last_status=seen.status or None,
        last_error=seen.error or None,
        next_attempt_at_ms=seen.due_ms or None if not seen.state.is_final else None,
        updated_at_ms=seen.updated_at_ms or roster.at_ms,
    )
