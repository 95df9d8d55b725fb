import json
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis.strategies import (
    booleans,
    builds,
    dictionaries,
    floats,
    integers,
    just,
    lists,
    none,
    recursive,
    sampled_from,
    text,
)
from websockets.frames import Opcode

from app.domain.post import Event, EventKind, Post
from app.gateway.encoding import ENCODINGS, JSON, MSGPACK, PING, Encoding, EventFrames, header
from app.wire import encode_json, rfc3339
from tests.gateway.frames import read_frames

POST_ID = "01k2v3w4x5y6z7a800"
CREATED = Event(POST_ID, 1, EventKind.CREATED)
BOTH = pytest.mark.parametrize("encoding", [JSON, MSGPACK], ids=lambda one: one.subprotocol)

VALUES = recursive(
    none()
    | booleans()
    | integers(-(2**63), 2**64 - 1)
    | floats(allow_nan=False, allow_infinity=False)
    | text(max_size=20),
    lambda inner: lists(inner, max_size=4) | dictionaries(text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
POSTS = builds(
    Post,
    id=just(POST_ID),
    author=sampled_from(["ann", "A.n:n@%s-1"]),
    type=sampled_from(["post", "commit", "task_2"]),
    version=integers(1, 10**6),
    created_at_ms=integers(0, 4 * 10**12),
    updated_at_ms=integers(0, 4 * 10**12),
    data=dictionaries(text(max_size=8), VALUES, max_size=5).map(encode_json),
)


def decode(encoding: Encoding, frame: bytes) -> Any:
    (read,) = read_frames(frame)
    assert read.fin
    assert read.opcode is (Opcode.TEXT if encoding is JSON else Opcode.BINARY)
    payload = bytes(read.data)
    return json.loads(payload) if encoding is JSON else msgpack.unpackb(payload)


def make_post(size: int = 5) -> Post:
    return Post(POST_ID, "ann", "post", 1, 1_000, 2_000, encode_json({"text": "x" * size}))


@BOTH
@given(post=POSTS, offset=integers(1, 2**32 - 1))
def test_a_client_reads_what_the_contract_says(encoding: Encoding, post: Post, offset: int):
    frame = EventFrames(CREATED, post).frame(encoding, offset)
    assert decode(encoding, frame) == {
        "type": f"{post.type}.created",
        "offset": offset,
        "post": {
            "id": POST_ID,
            "author": post.author,
            "type": post.type,
            "version": post.version,
            "created_at": rfc3339(post.created_at_ms),
            "data": json.loads(post.data),
        },
    }


@BOTH
@pytest.mark.parametrize("kind", list(EventKind))
def test_the_type_says_what_happened_to_the_post(encoding: Encoding, kind: EventKind):
    event = Event(POST_ID, 2, kind)
    assert decode(encoding, EventFrames(event, make_post()).frame(encoding, 1))["type"] == (
        f"post.{kind.word}"
    )


@BOTH
def test_a_post_that_is_not_kept_any_more_still_has_its_place(encoding: Encoding):
    told = decode(encoding, EventFrames(CREATED, None).frame(encoding, 9))
    assert told == {
        "type": "post.created",
        "offset": 9,
        "post": {"id": POST_ID, "expired": True},
    }


@BOTH
def test_a_deleted_post_has_no_data(encoding: Encoding):
    deleted = Post(POST_ID, "ann", "post", 2, 1_000, 2_000, b"", deleted=True)
    frames = EventFrames(Event(POST_ID, 2, EventKind.DELETED), deleted)
    post = decode(encoding, frames.frame(encoding, 9))["post"]
    assert (post["deleted"], post["data"]) == (True, None)


@BOTH
@pytest.mark.parametrize("size", [10, 60, 61, 62, 65_500, 65_536, 70_000, 250_000])
def test_every_length_of_a_frame_has_its_header(encoding: Encoding, size: int):
    frames = EventFrames(CREATED, make_post(size))
    for offset in (1, 9, 10, 99_999):
        told = decode(encoding, frames.frame(encoding, offset))
        assert (told["offset"], len(told["post"]["data"]["text"])) == (offset, size)


def test_offsets_may_come_in_any_order():
    """Each number of digits has a template of its own, which is chosen again and again."""
    frames = EventFrames(CREATED, make_post())
    for offset in (999, 1_000, 999, 9, 100_000, 10, 9, 999):
        assert decode(JSON, frames.text.at(offset))["offset"] == offset


@BOTH
@pytest.mark.parametrize("size", [0, 100, 5_000, 100_000])
def test_the_size_of_a_frame_is_known_about_before_it_is_made(encoding: Encoding, size: int):
    frames = EventFrames(CREATED, make_post(size))
    assert 0 <= frames.size - len(frames.frame(encoding, 123)) < 120


@BOTH
def test_other_messages_travel_whole(encoding: Encoding):
    for message in ({"type": "hello", "head": 3}, {"type": "goodbye", "reason": "é" * 200}):
        assert decode(encoding, encoding.frame(message)) == message
        assert encoding.decode(encoding.encode(message)) == message


@pytest.mark.parametrize("length", [0, 125, 126, 65_535, 65_536, 1 << 20])
def test_a_header_says_the_length(length: int):
    (frame,) = read_frames(header(Opcode.BINARY, length) + bytes(length))
    assert len(frame.data) == length


def test_a_ping_is_a_ping():
    (frame,) = read_frames(PING)
    assert (frame.opcode, frame.data) == (Opcode.PING, b"")


def test_subprotocols_are_those_of_the_contract():
    assert ENCODINGS == {"moments.v1.json": JSON, "moments.v1.msgpack": MSGPACK}
