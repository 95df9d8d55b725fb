"""Marks in posts, and latencies on their way."""

import json

import pytest

from scripts.load.arrivals import Kind
from scripts.load.mark import Mark, encode_mark, find_mark
from scripts.load.poster import post_body
from scripts.load.samples import US_MAX, Key, Samples, untold


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_a_mark_is_found_in_whatever_carries_the_post(separators: tuple[str, str]):
    data = {"mark": encode_mark(1_234_567, 3, Kind.PROBE), "text": "hello"}
    body = json.dumps({"type": "x.created", "post": {"data": data}}, separators=separators)
    assert find_mark(body.encode()) == Mark(1_234_567, 3, "x")


@pytest.mark.parametrize("payload", [b"", b'{"type":"hello"}', b'{"mark":"soon"}', b'"mark":1.2.p'])
def test_what_has_no_mark_of_ours_is_told(payload: bytes):
    assert find_mark(payload) is None
    assert Samples().note(payload, "healthy", 1) is False


@pytest.mark.parametrize("kind", list(Kind))
def test_what_is_posted_is_json_with_the_mark(kind: Kind):
    body = post_body("t-a1", kind, 5_000_000, 2)
    read = json.loads(body)
    assert read["author"] == "t-a1"
    assert find_mark(body) == Mark(5_000_000, 2, kind.value)
    assert read["data"]["mark"] == f"5000000.2.{kind.value}"


def test_latencies_are_told_once_by_the_second_in_which_the_post_was_due():
    samples = Samples()
    for latency_us in (10, 20):
        payload = post_body("a", Kind.LIKE, 7_900_000, 1)
        samples.note(payload, "relay", 7_900_000 + latency_us)
    samples.note(post_body("a", Kind.LIKE, 8_000_000, 1), "relay", 8_000_030)
    told = dict(untold(json.loads(json.dumps(samples.take()))))
    assert {key: list(values) for key, values in told.items()} == {
        Key(1, 7, "l", "relay"): [10, 20],
        Key(1, 8, "l", "relay"): [30],
    }
    assert samples.take() == []
    assert samples.count == 3


def test_a_latency_stays_within_what_can_be_told():
    samples = Samples()
    key = Key(0, 0, "p", "healthy")
    samples.add(key, -5)
    samples.add(key, US_MAX + 1)
    assert [list(values) for _, values in untold(samples.take())] == [[0, US_MAX]]
