from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.call import read_body, read_query
from app.api.problems import ERRORS_MAX, Problem
from app.api.schemas.access import NewToken
from app.api.schemas.endpoints import NewEndpoint, Rotation
from app.api.schemas.feed import CursorMove, FeedQuery
from app.api.schemas.fields import field_name, parse_time
from app.api.schemas.posts import NewPost
from app.wire import rfc3339


@given(st.integers(0, 253_402_300_799_999))
def test_a_time_is_read_as_it_is_written_to_the_millisecond(at_ms: int):
    assert parse_time(rfc3339(at_ms)) == at_ms


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:00z", 0),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1969-12-31T19:00:00.5-05:00", 500),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2026-01-31T12:00:00.123999999Z", 1_769_860_800_123),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000),
    ],
)
def test_times_have_a_zone_and_up_to_nine_digits_of_a_second(text: str, at_ms: int):
    assert parse_time(text) == at_ms


@pytest.mark.parametrize(
    "value",
    [
        *("", "now", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01 00:00:00Z"),
        *("2026-1-1T00:00:00Z", "2026-13-01T00:00:00Z", "2025-02-29T00:00:00Z"),
        *("2026-01-01T24:00:01Z", "2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00.Z"),
        *("2026-01-01T00:00:00.1234567890Z", "2026-01-01T00:00:00Z\n", "٢٠٢٦-01-01T00:00:00Z"),
        *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-00:01", "2026W011T000000Z"),
        *(1_769_860_800, 1.5, None, True, ["2026-01-01T00:00:00Z"]),
    ],
)
def test_anything_else_is_no_time(value: object):
    with pytest.raises(ValueError, match="RFC 3339"):
        parse_time(value)


@pytest.mark.parametrize("number", [3_600, 3_600.0])
def test_a_whole_number_may_have_a_point_with_nothing_behind_it(number: float):
    assert read_body(NewToken, {"ttl_s": number}).ttl_s == 3_600
    assert read_body(Rotation, {"overlap_s": number}).overlap_s == 3_600
    assert read_body(CursorMove, {"offset": number}).offset == 3_600


@pytest.mark.parametrize("number", [3_600.5, "3600", True, None, 1e300, float(2**53), -1.0])
def test_anything_else_is_no_whole_number(number: object):
    with pytest.raises(Problem, match="offset"):
        read_body(CursorMove, {"offset": number})


@pytest.mark.parametrize("text", ["0", "1.5", "2.250000001", "1e1", "1E-7", "15e-1", "3e+0"])
def test_a_number_of_a_query_is_written_as_in_json(text: str):
    assert read_query(FeedQuery, f"wait_s={quote(text)}".encode()).wait_s == float(text)


@pytest.mark.parametrize("text", ["01", ".5", "1.", "1e", "+1", "-0", "0x1", "1e400", "0" * 33])
def test_anything_else_is_no_number_of_a_query(text: str):
    with pytest.raises(Problem, match="wait_s"):
        read_query(FeedQuery, f"wait_s={quote(text)}".encode())


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (NewPost, {f"a{n}": 1 for n in range(10_000)}),
        (NewPost, {"author": "a", "data": {}, "audience": {f"a{n}": 1 for n in range(10_000)}}),
        (NewPost, {"author": "a", "data": {}, "audience": {"only": ["a b"] * 10_000}}),
        (NewEndpoint, {"user": "a", "url": "b", "headers": {f"a{n}": 1 for n in range(10_000)}}),
        (NewEndpoint, {"user": "a", "url": "b", "types": [1] * 10_000}),
        (NewEndpoint, {"user": "a", "url": "b", "retry_schedule_s": ["x"] * 10_000}),
    ],
)
def test_ten_thousand_mistakes_are_not_all_looked_at(model, body):
    with pytest.raises(Problem) as caught:
        read_body(model, body)
    assert 1 <= len(caught.value.fields) <= ERRORS_MAX + len(model.model_fields) + 2


def test_all_that_is_known_is_looked_at_among_ten_thousand_unknown():
    body = {f"a{n}": 1 for n in range(10_000)} | {"author": "a b", "data": 1, "audience": 2}
    with pytest.raises(Problem) as caught:
        read_body(NewPost, body)
    assert {"author", "data", "audience", "a0"} <= {error.field for error in caught.value.fields}


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (("author",), "author"),
        (("audience", "only", 3), "audience.only[3]"),
        (("types", 0), "types[0]"),
        ((), ""),
        (("\ud800",), "\\ud800"),
        (("x" * 500,), "x" * 128),
    ],
)
def test_a_field_is_named_as_one_would_write_it(place, name: str):
    assert field_name(place) == name
