from typing import Any

import pytest
from hypothesis import given
from hypothesis.strategies import (
    binary,
    booleans,
    dictionaries,
    floats,
    integers,
    lists,
    none,
    recursive,
    text,
)

from app.gateway.messages import Ack, Ping, Renew, Unknown, parse

ANYTHING = recursive(
    none() | booleans() | integers() | floats() | text(max_size=60) | binary(max_size=9),
    lambda inner: lists(inner, max_size=3) | dictionaries(text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


def test_an_ack_names_an_offset():
    assert parse({"type": "ack", "offset": 12}) == Ack(12)
    assert parse({"offset": 0, "type": "ack"}) == Ack(0)


def test_a_token_can_be_renewed():
    assert parse({"type": "token", "token": "a.b.c"}) == Renew("a.b.c")


def test_a_ping_says_nothing_else():
    assert parse({"type": "ping"}) == Ping()


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ([], "object"),
        (None, "object"),
        ("ack", "object"),
        ({}, "`type` is missing"),
        ({"type": None}, "`type` is missing"),
        ({"type": "pong"}, "unknown type 'pong'"),
        ({"type": ["ack"], "offset": 1}, "unknown type"),
        ({"type": "x" * 500}, "unknown type"),
        ({"type": "ack"}, "`offset` is missing"),
        ({"type": "ack", "offset": 1, "of": 2}, "unknown field 'of'"),
        ({"type": "ack", "offset": -1}, "no whole number"),
        ({"type": "ack", "offset": True}, "no whole number"),
        ({"type": "ack", "offset": 1.0}, "no whole number"),
        ({"type": "ack", "offset": "1"}, "no whole number"),
        ({"type": "ack", "offset": None}, "no whole number"),
        ({"type": "ping", "offset": 1}, "unknown field 'offset'"),
        ({"type": "token"}, "`token` is missing"),
        ({"type": "token", "token": 5}, "not a string"),
        ({"type": "token", "token": b"a.b.c"}, "not a string"),
    ],
)
def test_whatever_else_comes_is_told_what_is_wrong(message: Any, reason: str):
    said = parse(message)
    assert isinstance(said, Unknown)
    assert reason in said.reason


@given(ANYTHING)
def test_nothing_a_client_says_breaks_it(message: Any):
    said = parse(message)
    if isinstance(said, Unknown):
        assert 0 < len(said.reason) < 120
        assert said.reason.replace("…", "").isascii()
