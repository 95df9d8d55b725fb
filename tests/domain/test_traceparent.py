import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.traceparent import Traceparent, parse_traceparent, trace_id_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("flags", "sampled"), [("01", True), ("00", False), ("03", True), ("fe", False)]
)
def test_a_traceparent_says_whose_trace_and_whether_it_is_recorded(flags: str, sampled: bool):
    parsed = parse_traceparent(f"00-{TRACE}-{SPAN}-{flags}".encode())
    assert parsed == Traceparent(int(TRACE, 16), int(SPAN, 16), sampled)


def test_a_later_version_may_have_more_behind_it():
    assert parse_traceparent(f"cc-{TRACE}-{SPAN}-01-what-will-be".encode()) is not None
    assert parse_traceparent(f"00-{TRACE}-{SPAN}-01-what-will-be".encode()) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\r\nx: y",
    ],
)
def test_what_is_none_is_as_if_it_were_not_there(text: str):
    assert parse_traceparent(text.encode()) is None


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_what_is_written_is_read(trace_id: int, span_id: int, sampled: bool):
    written = Traceparent(trace_id, span_id, sampled)
    raw = written.encode()
    assert len(raw) == 55
    assert parse_traceparent(raw) == written
    assert trace_id_of(raw) == f"{trace_id:032x}"


@given(st.binary(max_size=80))
def test_no_bytes_make_it_fail(raw: bytes):
    parsed = parse_traceparent(raw)
    assert parsed is None or (parsed.trace_id and parsed.span_id)
