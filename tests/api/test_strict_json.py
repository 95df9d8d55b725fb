import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.problems import Problem
from app.api.strict_json import DEPTH_MAX, INT_MAX, INT_MIN, compact, parse

scalars = (
    st.none()
    | st.booleans()
    | st.integers(INT_MIN, INT_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)


def value_or_problem(raw: bytes):
    try:
        return parse(raw)
    except Problem as problem:
        return problem


@given(values, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_what_is_valid_comes_back_as_it_was(value, escaped: bool, indent):
    text = json.dumps(value, ensure_ascii=escaped, indent=indent)
    assert parse(text.encode()) == value
    assert parse(compact(value)) == value
    assert len(compact(value)) <= len(text.encode())


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_a_400(raw: bytes):
    outcome = value_or_problem(raw)
    if isinstance(outcome, Problem):
        assert outcome.kind.status == 400
    else:
        assert outcome == json.loads(raw)


@given(st.text(alphabet='{}[]":,0123456789.eE+-truefalsn\\ud8 ', max_size=40))
def test_any_text_of_json_signs_is_a_value_or_refused(text: str):
    outcome = value_or_problem(text.encode())
    if isinstance(outcome, Problem):
        assert outcome.kind.status in (400, 422)
    else:
        assert outcome == json.loads(text)
        assert json.loads(compact(outcome)) == outcome


@pytest.mark.parametrize("depth", [1, DEPTH_MAX - 1, DEPTH_MAX])
@pytest.mark.parametrize(("start", "end"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_nesting_is_counted_in_lists_and_objects_alike(depth: int, start: bytes, end: bytes):
    empty = start[:1] + end
    assert parse(start * (depth - 1) + empty + end * (depth - 1)) is not None
    deeper = DEPTH_MAX + 1
    with pytest.raises(Problem, match="nested"):
        parse(start * (deeper - 1) + empty + end * (deeper - 1))


def test_many_brackets_side_by_side_are_no_depth():
    assert len(parse(b"[" + b"[]," * 999 + b"{}]")) == 1_000


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b'{\n  "a": 1,\n  "b" 2}', "line 3, column 7"),
        (b'{"a": {"b": 1, "b": 2}}', '"b"'),
        (b'{"\\u0061": 1, "a": 2}', '"a"'),
        (b"[1e400]", "64 bits"),
        (b"[-1e400]", "64 bits"),
        (b"[9223372036854775808999]", "64 bits"),
        (b"[-9223372036854775809]", "64 bits"),
        (b"[NaN]", "NaN"),
        (b'"\xc3"', "UTF-8 at byte 2"),
        (b"", "line 1, column 1"),
        (b"{} {}", "line 1, column 4"),
        (b"[01]", "line 1, column 3"),
        (b"'a'", "line 1, column 1"),
        (b'"a\nb"', "line 1"),
        (b"[1,]", "line 1"),
    ],
)
def test_the_message_says_what_is_wrong_and_where(raw: bytes, says: str):
    with pytest.raises(Problem) as caught:
        parse(raw)
    assert says in caught.value.detail
    assert caught.value.kind.status == 400


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b'"\\ud800"', ""),
        (b'{"data": {"a": ["x", {"b": "\\uDC00"}]}}', "data.a[1].b"),
        (b'{"data": {"a": {"\\ud83d": 1}}}', "data.a.\\ud83d"),
        (b'{"\\ud83d": 1}', "\\ud83d"),
        (b'{"a": "\\ud83d \\ude00"}', "a"),
        (b'[1, "\\ude00\\ud83d"]', "[1]"),
    ],
)
def test_half_a_character_is_found_where_it_stands(raw: bytes, field: str):
    with pytest.raises(Problem) as caught:
        parse(raw)
    assert [error.field for error in caught.value.fields] == [field]
    assert caught.value.kind.status == 422


@pytest.mark.parametrize("raw", [b'{"a": "\\ud83d\\ude00"}', b'["\\\\ud800"]'])
def test_a_whole_pair_and_a_mere_backslash_are_taken(raw: bytes):
    assert compact(parse(raw)).decode()
