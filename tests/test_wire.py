"""Bytes: what was encoded is decoded again, and nothing that is not ours does harm."""

import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.domain.attempt import Outcome
from app.domain.delivery import State
from app.domain.ids import ALPHABET, ENDPOINT_ID_LENGTH
from app.domain.post import Audience, Event, EventKind
from app.errors import DecodeError
from app.wire import (
    AttemptEntry,
    Record,
    Roster,
    decode_attempt,
    decode_audience,
    decode_deliveries,
    decode_event,
    decode_frame,
    decode_json,
    decode_msgpack,
    decode_recipients,
    decode_record,
    decode_roster,
    encode_attempt,
    encode_audience,
    encode_event,
    encode_json,
    encode_msgpack,
    encode_record,
    traceparent_of,
)

Decode = Callable[[bytes], Any]

USER = st.text("abcXYZ019_.:@-", min_size=1, max_size=64)
ENDPOINT = st.text(ALPHABET, min_size=ENDPOINT_ID_LENGTH, max_size=ENDPOINT_ID_LENGTH)
OFFSET = st.integers(1, 2**53)
TIME_MS = st.integers(0, 2**42)
EVENT = st.builds(
    Event,
    st.text(ALPHABET, min_size=18, max_size=18),
    st.integers(1, 999),
    st.sampled_from(EventKind),
)
AUDIENCE = st.one_of(
    st.just(Audience()),
    st.builds(Audience, only=st.frozensets(USER, max_size=20), unasked=st.booleans()),
    st.builds(Audience, excepted=st.frozensets(USER, max_size=20)),
)
ROW = st.tuples(ENDPOINT, USER, OFFSET)
RECIPIENT = st.tuples(USER, OFFSET)
RECORD = st.builds(
    Record,
    st.sampled_from(State),
    st.integers(0, 300),
    st.integers(0, 599),
    TIME_MS,
    st.sampled_from(("", "timeout", "http_5xx")),
    TIME_MS,
    st.integers(0, 300),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=20),
    lambda each: (
        st.lists(each, max_size=5) | st.dictionaries(st.text(max_size=9), each, max_size=5)
    ),
    max_leaves=20,
)


def packed(value: Any) -> bytes:
    """As the scripts pack: with the one old type for text and bytes."""
    return msgpack.packb(value, use_bin_type=False)


def flat(rows: list[tuple[Any, ...]]) -> bytes:
    return packed([field for row in rows for field in row])


def roster_of(rows: list[tuple[str, int, tuple[str, ...]]], at_ms: int) -> bytes:
    users, offsets, endpoints = zip(*rows, strict=True) if rows else ((), (), ())
    return packed([users, offsets, ["".join(ids) for ids in endpoints], at_ms])


ROSTER_ROW = st.tuples(USER, OFFSET, st.lists(ENDPOINT, max_size=3).map(tuple))
ATTEMPT = encode_attempt("d", 3, 1_700_000_000_000, Outcome(503, None, 12.5, excerpt=b"\xffno"))

# Each decoder with good encodings for it.
GOOD: dict[Decode, st.SearchStrategy[bytes]] = {
    decode_event: EVENT.map(encode_event),
    decode_audience: AUDIENCE.map(encode_audience),
    decode_roster: st.builds(roster_of, st.lists(ROSTER_ROW, max_size=9), TIME_MS),
    decode_deliveries: st.lists(ROW, max_size=9).map(flat),
    decode_recipients: st.lists(RECIPIENT, max_size=9).map(flat),
    decode_record: RECORD.map(encode_record).map(str.encode),
    decode_attempt: st.just(ATTEMPT),
    decode_json: JSON.map(encode_json),
    decode_msgpack: JSON.map(encode_msgpack),
    decode_frame: JSON.map(encode_msgpack),
}
PACKED = tuple(
    decode for decode in GOOD if decode not in (decode_event, decode_record, decode_json)
)
ANY_DECODER = pytest.mark.parametrize("decode", GOOD, ids=lambda decode: decode.__name__)
ANY_UNPACKER = pytest.mark.parametrize("decode", PACKED, ids=lambda decode: decode.__name__)


def tried(decode: Decode, raw: bytes) -> Any:
    """The value, or None for a `DecodeError`; anything else that is raised fails the test."""
    try:
        return decode(raw)
    except DecodeError:
        return None


# Round trips


@given(EVENT)
def test_an_event_comes_back(event: Event) -> None:
    assert decode_event(encode_event(event)) == event


@given(AUDIENCE)
def test_an_audience_comes_back(audience: Audience) -> None:
    assert decode_audience(encode_audience(audience)) == audience


@given(RECORD)
def test_a_record_comes_back(record: Record) -> None:
    assert decode_record(encode_record(record).encode()) == record


@given(st.lists(ROSTER_ROW, max_size=20), TIME_MS)
def test_a_roster_comes_back(rows: list[tuple[str, int, tuple[str, ...]]], at_ms: int) -> None:
    users, offsets, endpoints = zip(*rows, strict=True) if rows else ((), (), ())
    assert decode_roster(roster_of(rows, at_ms)) == Roster(users, offsets, endpoints, at_ms)


@given(st.lists(ROW, max_size=20))
def test_deliveries_come_back(rows: list[tuple[str, str, int]]) -> None:
    assert decode_deliveries(flat(rows)) == rows


@given(st.lists(RECIPIENT, max_size=20))
def test_recipients_come_back(rows: list[tuple[str, int]]) -> None:
    assert decode_recipients(flat(rows)) == tuple(rows)


def test_an_attempt_comes_back_whatever_the_receiver_answered() -> None:
    assert decode_attempt(ATTEMPT) == AttemptEntry(
        "d", 3, 1_700_000_000_000, 503, "http_5xx", 12.5, "�no"
    )


@given(JSON)
def test_messages_come_back(value: Any) -> None:
    assert decode_json(encode_json(value)) == value
    assert decode_msgpack(encode_msgpack(value)) == value
    assert decode_frame(encode_msgpack(value)) == value


# What is not ours


@ANY_DECODER
@given(raw=st.binary(max_size=200))
@example(raw=b"")
@example(raw=b"c" + b"9" * 5_000 + b".01k2v3w4x5y6z70000")
@example(raw=b"9" * 5_000)
@example(raw=b"p" + b"9" * 5_000 + b",,1")
@example(raw=b"\x91" * 5_000)
@example(raw=b"[" * 100_000)
@example(raw=b"\xd6\xff\x00\x00\x00\x00")
def test_random_bytes_are_refused_or_read(decode: Decode, raw: bytes) -> None:
    tried(decode, raw)


@ANY_UNPACKER
@given(value=JSON)
def test_values_of_another_shape_are_refused_or_read(decode: Decode, value: Any) -> None:
    tried(decode, packed(value))


@ANY_DECODER
@given(data=st.data())
def test_encodings_cut_short_are_refused_or_read(decode: Decode, data: st.DataObject) -> None:
    good = data.draw(GOOD[decode])
    tried(decode, good[: data.draw(st.integers(0, len(good)))])


@ANY_DECODER
@given(data=st.data())
def test_encodings_with_changed_bytes_are_refused_or_read(
    decode: Decode, data: st.DataObject
) -> None:
    raw = bytearray(data.draw(GOOD[decode].filter(bool)))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    tried(decode, bytes(raw))


@pytest.mark.parametrize(
    ("decode", "value"),
    [
        (decode_audience, []),
        (decode_audience, {}),
        (decode_audience, {"only": "bob"}),
        (decode_audience, {"only": [1]}),
        (decode_audience, {"except": [["bob"]]}),
        (decode_roster, [["bob"], [1], [""]]),
        (decode_roster, [["bob"], [1, 2], [""], 1]),
        (decode_roster, [["bob"], ["1"], [""], 1]),
        (decode_roster, [["bob"], [1], [None], 1]),
        (decode_roster, [[7], [1], [""], 1]),
        (decode_roster, ["bob", [1], [""], 1]),
        (decode_roster, 7),
        (decode_deliveries, ["endpoint", "bob"]),
        (decode_deliveries, ["endpoint", "bob", "1"]),
        (decode_deliveries, {"a": 1}),
        (decode_recipients, ["bob"]),
        (decode_recipients, ["bob", None]),
        (decode_recipients, [1, "bob"]),
        (decode_recipients, "bobbob"),
        (decode_attempt, []),
        (decode_attempt, 7),
        (decode_attempt, {"a": 1}),
        (decode_attempt, [2, "d", 1, 1, 200, "", 1, ""]),
        (decode_attempt, [1, "d", 1, 1, 200, "", 1]),
        (decode_attempt, [1, "d", 1, 1, "200", "", 1, ""]),
        (decode_attempt, [1, 4, 1, 1, 200, "", 1, ""]),
    ],
)
def test_a_value_of_another_shape_is_refused(decode: Decode, value: Any) -> None:
    with pytest.raises(DecodeError):
        decode(packed(value))


@ANY_UNPACKER
def test_lists_that_only_say_they_are_long_take_no_memory(decode: Decode) -> None:
    size = 64 * 1024
    raw = (b"\xdd" + struct.pack(">I", size // 2)) * 60
    raw += b"\xc0" * (size - len(raw))
    tracemalloc.start()
    try:
        assert tried(decode, raw) is None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * size


def test_an_entry_tells_the_trace_that_it_is_of_if_it_is_of_one():
    traceparent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert traceparent_of({b"e": b"c1.x", b"t": traceparent}) == traceparent
    assert traceparent_of({b"e": b"c1.x"}) is None
    assert traceparent_of({b"t": b"\xff" * 55}) is None
