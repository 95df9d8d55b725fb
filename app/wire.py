"""Bytes: stream entries, ledger records, webhook bodies and socket frames to and from values.

Nothing else packs or unpacks. Formats written by a script are decoded here and named with it.
Whatever bytes a `decode_…` is given, it returns a value of the shape it names or raises
`DecodeError`, and takes no more memory than a small multiple of their length.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeGuard, TypeVar, cast
from urllib.parse import urlencode

import msgpack  # pyright: ignore[reportMissingTypeStubs]

from app.domain.attempt import Outcome
from app.domain.delivery import State
from app.domain.ids import ENDPOINT_ID_LENGTH
from app.domain.post import Audience, Event, EventKind, Post, accepted_at_ms
from app.domain.post import event_type as name_event
from app.errors import DecodeError

T = TypeVar("T")

Packer = Callable[[Any], bytes]
_pack = cast(Packer, msgpack.Packer(use_bin_type=True, autoreset=True).pack)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
# Scripts pack with cmsgpack, which knows only the old raw type: text comes back as bytes there.
_pack_raw = cast(Packer, msgpack.Packer(use_bin_type=False, autoreset=True).pack)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
_unpackb = cast(Callable[..., Any], msgpack.unpackb)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
_new_walker = cast(Callable[..., Any], msgpack.Unpacker)
_UNPACK_ERRORS = (ValueError, msgpack.UnpackException)  # of text that is not UTF-8 too

_KINDS = {kind.value: kind for kind in EventKind}
_VERSION_DIGITS_MAX = 9  # as in the ids of deliveries


def _unpack(kind: str, packed: bytes, **options: Any) -> Any:
    """One whole msgpack value; tuples for lists unless asked. Raises `DecodeError` of `kind`.

    The value is walked over before it is built, which takes a seventh of the time: room for a list
    is made when its length is read, so that lists that only say they are long, each in the other,
    would take hundreds of times the memory of what was sent.
    """
    try:
        walker = _new_walker(max_buffer_size=len(packed))
        walker.feed(packed)
        walker.skip()
        return _unpackb(packed, **{"use_list": False, **options})
    except _UNPACK_ERRORS as error:
        raise DecodeError(kind, packed) from error


def _unpack_row(kind: str, packed: bytes, **options: Any) -> tuple[Any, ...]:
    """The same for what must be a list. Raises `DecodeError`."""
    row = _unpack(kind, packed, **options)
    if not isinstance(row, tuple):
        raise DecodeError(kind, packed)
    return cast("tuple[Any, ...]", row)


def _is_all(type_: type[T], value: Any) -> TypeGuard[tuple[T, ...]]:
    """Whether it is a tuple that holds nothing but this type, not even one derived from it."""
    return isinstance(value, tuple) and set(map(type, cast("tuple[Any, ...]", value))) <= {type_}


# Events, as inboxes and streams hold them: kind letter, version, dot, post id.


def encode_event(event: Event) -> bytes:
    return f"{event.kind.value}{event.version}.{event.post}".encode()


def decode_event(raw: bytes) -> Event:
    """Raises `DecodeError`."""
    head, dot, post = raw.decode("ascii", "replace").partition(".")
    kind, version = _KINDS.get(head[:1]), head[1:]
    if kind is None or not dot or not version.isdecimal() or len(version) > _VERSION_DIGITS_MAX:
        raise DecodeError("event", raw)
    return Event(post, int(version), kind)


# The audience cut, kept with the post and read by next_slice.lua.


def encode_audience(audience: Audience) -> bytes:
    """b"" when the whole audience is meant."""
    if audience.only is not None:
        unasked = {"unasked": True} if audience.unasked else {}
        return _pack_raw({"only": sorted(audience.only), **unasked})
    if audience.excepted:
        return _pack_raw({"except": sorted(audience.excepted)})
    return b""


def decode_audience(raw: bytes) -> Audience:
    """Raises `DecodeError`."""
    if not raw:
        return Audience()
    fields = _unpack("audience", raw)
    if isinstance(fields, dict):
        named = cast("dict[str, Any]", fields)
        only: Any = named.get("only")
        excepted: Any = named.get("except")
        if _is_all(str, only):
            return Audience(only=frozenset(only), unasked=named.get("unasked") is True)
        if _is_all(str, excepted):
            return Audience(excepted=frozenset(excepted))
    raise DecodeError("audience", raw)


# What scripts exchange.


def encode_users(users: Sequence[str]) -> bytes:
    return _pack_raw(users)


def encode_cursors(users: Sequence[str], offsets: Sequence[int]) -> bytes:
    """What advance_cursors.lua takes."""
    return _pack_raw((users, offsets))


@dataclass(frozen=True, slots=True)
class Roster:
    """Who one slice of a post went to in one shard, and when; the rest has an entry a recipient."""

    users: tuple[str, ...]
    offsets: tuple[int, ...]
    endpoints: tuple[tuple[str, ...], ...]
    at_ms: int


def decode_roster(raw: bytes) -> Roster:
    """Written by fan_out.lua: the ids of one recipient's endpoints stand in one string.

    Raises `DecodeError`.
    """
    row = _unpack_row("roster", raw)
    if len(row) == 4:
        users, offsets, endpoints, at_ms = row
        if (
            _is_all(str, users)
            and _is_all(int, offsets)
            and _is_all(str, endpoints)
            and len(users) == len(offsets) == len(endpoints)
            and isinstance(at_ms, int)
        ):
            return Roster(users, offsets, tuple(map(_split_ids, endpoints)), at_ms)
    raise DecodeError("roster", raw)


def _split_ids(ids: str) -> tuple[str, ...]:
    width = ENDPOINT_ID_LENGTH
    if len(ids) == width:
        return (ids,)
    return tuple(ids[start : start + width] for start in range(0, len(ids), width))


def decode_deliveries(raw: bytes) -> list[tuple[str, str, int]]:
    """Endpoint, recipient and offset of each delivery of one entry, written by fan_out.lua.

    Raises `DecodeError`.
    """
    endpoints, users, offsets = _columns("deliveries", raw, str, str, int)
    return list(zip(endpoints, users, offsets, strict=True))


def decode_recipients(raw: bytes) -> tuple[tuple[str, int], ...]:
    """Users and offsets of one entry of a gateway's stream, written by fan_out.lua.

    Raises `DecodeError`.
    """
    users, offsets = _columns("recipients", raw, str, int)
    return tuple(zip(users, offsets, strict=True))


def _columns(kind: str, raw: bytes, *types: type) -> list[tuple[Any, ...]]:
    """The columns of a table that stands row after row in one flat list, each of its own type."""
    flat = _unpack_row(kind, raw)
    columns = [flat[column :: len(types)] for column in range(len(types))]
    if len(flat) % len(types) or not all(map(_is_all, types, columns)):
        raise DecodeError(kind, raw)
    return columns


def encode_batch(batch: Sequence[Any]) -> bytes:
    """The batch record_outcomes.lua takes."""
    return _pack_raw(batch)


# The ledger's record of one delivery: comma-separated, empty fields at the end left out.


@dataclass(frozen=True, slots=True)
class Record:
    """`base` counts the attempts made before the retry schedule was last started."""

    state: State
    attempts: int
    status: int = 0
    updated_at_ms: int = 0
    error: str = ""
    due_ms: int = 0
    base: int = 0


def encode_record(record: Record) -> str:
    return pack_record(
        record.state,
        record.attempts,
        record.status,
        record.updated_at_ms,
        record.error,
        record.due_ms,
        record.base,
    )


def pack_record(
    state: State, attempts: int, status: int, at_ms: int, error: str, due_ms: int, base: int
) -> str:
    """The same without a `Record`, which costs more to make than its text: for every outcome."""
    head = f"{state}{attempts},{status or ''},{at_ms:x}"
    if base:
        return f"{head},{error},{_hex(due_ms)},{base}"
    if due_ms:
        return f"{head},{error},{due_ms:x}"
    return f"{head},{error}" if error else head


def _hex(value: int) -> str:
    return f"{value:x}" if value else ""


def decode_record(raw: bytes) -> Record:
    """Raises `DecodeError`."""
    try:
        head, status, updated, *rest = raw.decode("ascii").split(",")
        error, due, base = (*rest, "", "", "")[:3]
        return Record(
            State(head[0]),
            int(head[1:]),
            int(status or 0),
            int(updated or "0", 16),
            error,
            int(due or "0", 16),
            int(base or 0),
        )
    except (ValueError, IndexError) as error:
        raise DecodeError("record", raw) from error


def encode_time(at_ms: int) -> str:
    """A time as ledger records hold it."""
    return f"{at_ms:x}"


# The attempt log.


@dataclass(frozen=True, slots=True)
class AttemptEntry:
    """One try of a delivery: `error` is None on success, `status` 0 when nothing was answered."""

    delivery: str
    attempt: int
    at_ms: int
    status: int
    error: str | None
    duration_ms: float
    response: str


_ATTEMPT_VERSION = 1
_ATTEMPT_TYPES = (int, bytes, int, int, int, bytes, int, bytes)


def encode_attempt(delivery: str, attempt: int, at_ms: int, outcome: Outcome) -> bytes:
    return _pack_raw(
        (
            _ATTEMPT_VERSION,
            delivery,
            attempt,
            at_ms,
            outcome.status,
            outcome.error or "",
            round(outcome.duration_ms * 1000),
            outcome.excerpt,
        )
    )


def decode_attempt(raw: bytes) -> AttemptEntry:
    """Raises `DecodeError`, for another format version too."""
    # raw: the excerpt is whatever a receiver sent, and need not be text.
    row = _unpack_row("attempt", raw, raw=True)
    if tuple(map(type, row)) != _ATTEMPT_TYPES or row[0] != _ATTEMPT_VERSION:
        raise DecodeError("attempt", raw)
    _, delivery, attempt, at_ms, status, error, duration_us, excerpt = row
    return AttemptEntry(
        delivery.decode("ascii", "replace"),
        attempt,
        at_ms,
        status,
        error.decode("ascii", "replace") or None,
        duration_us / 1000,
        excerpt.decode("utf-8", "replace"),
    )


# What is pushed. A post's JSON is made once an event and used for webhooks and JSON frames.


def rfc3339(at_ms: int) -> str:
    """UTC with milliseconds, as the API writes every time."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def event_type(post: Post | None, event: Event) -> str:
    """See `app.domain.post.event_type`; the type `post` is for one whose time is over."""
    return name_event(post.type if post else "post", event.kind)


def event_at_ms(post: Post, event: Event) -> int:
    """When what the event tells happened."""
    return post.created_at_ms if event.kind is EventKind.CREATED else post.updated_at_ms


def post_fields(post: Post) -> dict[str, Any]:
    """A post as the API shows it, without its data."""
    fields: dict[str, Any] = {
        "id": post.id,
        "author": post.author,
        "type": post.type,
        "version": post.version,
        "created_at": rfc3339(post.created_at_ms),
    }
    if post.deleted:
        fields["deleted"] = True
    return fields


def post_json(post: Post | None, event: Event) -> bytes:
    """The `post` member of what is pushed. None: its retention is over, only the id is left."""
    if post is None:
        return encode_json({"id": event.post, "expired": True})
    head = encode_json(post_fields(post))
    return head[:-1] + b',"data":' + (post.data or b"null") + b"}"


def json_event(type_: str, post: bytes) -> tuple[bytes, bytes]:
    """What stands before and after the offset (ASCII digits) in a JSON socket frame."""
    return b'{"type":"' + type_.encode() + b'","offset":', b',"post":' + post + b"}"


def msgpack_event(type_: str, post: bytes) -> tuple[bytes, bytes]:
    """The same for msgpack; the offset stands between as 4 bytes, big endian."""
    packed = _pack(json.loads(post))
    prefix = b"\x83" + _pack("type") + _pack(type_) + _pack("offset") + b"\xce"
    return prefix, _pack("post") + packed


def encode_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def encode_msgpack(value: Any) -> bytes:
    return _pack(value)


def decode_json(raw: bytes) -> Any:
    """A client's message. Raises `DecodeError`, for another encoding than UTF-8 too."""
    try:
        return json.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        raise DecodeError("message", raw) from error


def decode_msgpack(raw: bytes) -> Any:
    """A client's message. Raises `DecodeError`."""
    return _unpack("message", raw, use_list=True, max_map_len=64, max_array_len=64)


def decode_frame(raw: bytes) -> Any:
    """What a server sends over a msgpack socket. Raises `DecodeError`."""
    return _unpack("frame", raw, use_list=True)


@dataclass(frozen=True, slots=True)
class WebhookBody:
    """A webhook's body for every recipient of one event: the recipient and offset go between.

    `accepted_ms`: when the event was accepted, 0 when that is not known.
    """

    head: bytes
    tail: bytes
    accepted_ms: int

    def for_recipient(self, user: str, offset: int) -> bytes:
        # User ids hold nothing that JSON would have to escape.
        return b'%b%b","offset":%d%b' % (self.head, user.encode(), offset, self.tail)

    def as_query(self, user: str, offset: int) -> bytes:
        """The same fields as a query string; `data` stays JSON."""
        message = json.loads(self.for_recipient(user, offset))
        data = encode_json(message.pop("data"))
        return urlencode({**message, "data": data}).encode()


def webhook_body(post: Post, event: Event) -> WebhookBody:
    head = (
        f'{{"type":"{event_type(post, event)}","timestamp":"{rfc3339(event_at_ms(post, event))}"'
        ',"recipient":"'
    )
    tail = b',"data":{"post":' + post_json(post, event) + b"}}"
    return WebhookBody(head.encode(), tail, accepted_at_ms(post, event))


def stream_fields(raw: Iterable[bytes]) -> dict[bytes, bytes]:
    """An entry's fields by name."""
    flat = list(raw)
    return dict(zip(flat[0::2], flat[1::2], strict=True))
