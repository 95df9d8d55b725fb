"""A sample that is wrong is found: else the tests of the right ones would say nothing."""

from pathlib import Path

import pytest
from jsonschema import ValidationError

from tests.docs.blocks import ROOT, Block, blocks_of
from tests.docs.samples import check_sample

PAGE = ROOT / "docs" / "receiving-webhooks.md"
[REQUEST] = [block for block in blocks_of(PAGE) if block.language == "http"]


def block(language: str, kind: str, text: str, value: str = "", page: Path | None = None) -> Block:
    return Block(page or REQUEST.page, 1, language, kind, value, text)


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("body", "posts_accept", '{"author": "ann"}'),
        ("body", "posts_accept", '{"author": "ann", "data": {}, "mood": "good"}'),
        ("answer", "feed_read", '{"items": []}'),
        ("answer", "posts_accept", '{"title": "x", "status": 422}'),
        ("answer", "posts_accept", '{"title": "x", "status": 200}'),
        ("frame", "", '{"type": "hello"}'),
        ("frame", "", '{"type": "ack", "offset": 1, "of": 2}'),
        ("webhook", "", '{"type": "endpoint.verify", "data": {}}'),
        ("echo", "", '{"data": {"challenge": "x"}}'),
    ],
)
def test_json_of_another_shape_is_found(kind: str, value: str, text: str):
    with pytest.raises((ValidationError, AssertionError)):
        check_sample(block("json", kind, text, value))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("webhook-id: ", "id: "),
        ("moments-attempt: 1", "moments-attempt: 0"),
        ("POST ", "GET "),
        ('"recipient":"bob"', '"recipient":"dan"'),
        ("v1,AtcB", "v1,BtcB"),
        ('"offset":1', '"offset":"1"'),
    ],
)
def test_a_request_that_nobody_would_send_is_found(right: str, wrong: str):
    check_sample(REQUEST)
    assert right in REQUEST.text
    with pytest.raises((ValidationError, AssertionError)):
        check_sample(block("http", "webhook", REQUEST.text.replace(right, wrong)))
