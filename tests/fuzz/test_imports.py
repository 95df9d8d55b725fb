"""Whatever stands in the lines of an import, the good ones are taken and the others are named."""

import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.lines import Line, LineSplitter
from tests.api.conftest import Api
from tests.fuzz.amount import tried

LINE_BYTES_MAX = 64
USER = re.compile(r"[A-Za-z0-9_.:@-]{1,64}")
serial = count()

cuts = st.lists(st.integers(0, 400), max_size=6)
words = st.sampled_from(
    ["friend", "follow", "block", "enemy", "", "ann", "bob", "a b", "é", "x" * 65]
)
values = st.one_of(
    words, st.none(), st.integers(), st.floats(), st.booleans(), st.just([]), st.just({})
)
edges = st.fixed_dictionaries(
    {"kind": st.sampled_from(["friend", "follow", "block", "Friend"]), "a": words, "b": words},
    optional={"c": values, "": values},
)
objects = st.one_of(
    edges, st.dictionaries(st.sampled_from(["kind", "a", "b", "c"]), values, max_size=4)
)


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """JSON of an object that may be an edge, as it is or with some bytes of it changed."""
    text = bytearray(json.dumps(draw(objects)).encode())
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        start = draw(st.integers(0, len(text)))
        text[start : start + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(text)


lines = st.one_of(
    texts(), st.binary(max_size=80), st.sampled_from([b"", b" ", b"\r", b"x" * 5_000])
)


def parts(data: bytes, at: Sequence[int]) -> Iterator[bytes]:
    places = sorted({min(place, len(data)) for place in at})
    for start, stop in zip([0, *places], [*places, len(data)], strict=True):
        yield data[start:stop]


@given(st.lists(st.binary(max_size=90), max_size=6).map(b"\n".join), cuts)
@tried(150)
def test_lines_are_what_stands_between_their_ends_however_they_come(data: bytes, at: list[int]):
    splitter = LineSplitter(LINE_BYTES_MAX)
    found = [line for part in parts(data, at) for line in splitter.feed(part)]
    found += splitter.end()
    wanted: list[Line] = []
    for number, raw in enumerate(data.split(b"\n"), 1):
        text = raw.strip()
        if len(text) > LINE_BYTES_MAX or len(raw) > LINE_BYTES_MAX + 1:
            wanted.append(Line(number, None))
        elif text:
            wanted.append(Line(number, text))
    assert found == wanted


@given(st.lists(lines, max_size=5), cuts)
@tried(80)
async def test_good_lines_before_and_after_any_others_are_taken(
    api: Api, others: list[bytes], at: list[int]
):
    first, last = (f"u{next(serial)}" for _ in range(2))
    body = b"\n".join([follow(first), *others, follow(last)])

    async def chunks() -> AsyncIterator[bytes]:
        for part in parts(body, at):
            yield part

    answer = await api.admin.post("/v1/graph:import", content=chunks())
    assert answer.status_code == 200, answer.text
    report = answer.json()
    for user in (first, last):
        listed = (await api.admin.get(f"/v1/users/{user}/follows")).json()["items"]
        assert listed == ["somebody"]
    all_lines = body.split(b"\n")
    wrong = {
        number for number, line in enumerate(all_lines, 1) if line.strip() and not is_edge(line)
    }
    assert {error["line"] for error in report["errors"]} == wrong
    assert report["errors_omitted"] == 0
    assert report["lines"] == sum(1 for line in all_lines if line.strip())
    assert 2 <= report["created"] <= report["lines"] - len(wrong)


def follow(user: str) -> bytes:
    return json.dumps({"kind": "follow", "a": user, "b": "somebody"}).encode()


def is_edge(line: bytes) -> bool:
    """By another reader."""
    if len(line.strip()) > 4_096:
        return False
    try:
        edge: Any = json.loads(line.strip().decode(), object_pairs_hook=once)
    except (ValueError, RecursionError):
        return False
    if not isinstance(edge, dict) or edge.keys() != {"kind", "a", "b"}:
        return False
    are_users = all(isinstance(edge[end], str) and USER.fullmatch(edge[end]) for end in "ab")
    return are_users and edge["kind"] in ("friend", "follow", "block") and edge["a"] != edge["b"]


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found


types = st.one_of(
    st.sampled_from(
        [b"application/x-ndjson", b"application/json; charset=utf-8", b"text/csv", b"", b";", b'"']
    ),
    st.binary(max_size=30).map(lambda raw: bytes(byte for byte in raw if byte >= 32)),
)


@pytest.mark.parametrize("path", ["/v1/graph:import", "/v1/posts", "/v1/users/bob/tokens"])
@given(body=st.one_of(st.binary(max_size=200), texts()), type_=types, encoding=types)
@tried(30)
async def test_a_body_of_any_bytes_and_type_is_taken_or_refused(
    api: Api, path: str, body: bytes, type_: bytes, encoding: bytes
):
    headers = [(b"content-type", type_)] + [(b"content-encoding", encoding)] * (encoding != b"")
    answer = await api.admin.post(path, content=body, headers=headers)
    assert answer.status_code in (200, 201, 202, 400, 415, 422), answer.text
