"""Which headers an endpoint may ask for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.headers import COUNT_MAX, SIZE_MAX, check_headers
from app.errors import HeadersRejected


def test_names_come_back_in_lower_case_and_values_as_they_were():
    assert check_headers({"Authorization": "Bearer aB c", "X-Empty": ""}) == {
        "authorization": "Bearer aB c",
        "x-empty": "",
    }


OURS = """
    Host Connection Keep-Alive Proxy-Authorization Proxy-Connection TE Trailer Transfer-Encoding
    Upgrade Content-Length Content-Type Content-Encoding Webhook-Id webhook-signature
    Webhook-Anything Moments-Attempt User-Agent Accept-Encoding Expect Forwarded Via
    X-Forwarded-For HTTP2-Settings Date
"""


@pytest.mark.parametrize("name", OURS.split())
def test_a_header_of_the_sender_cannot_be_set(name: str):
    with pytest.raises(HeadersRejected, match="choose another"):
        check_headers({name: "x"})


@pytest.mark.parametrize(
    "name", ["", "a b", "a:", "a\r\nb", "a\n", "é", "a\x00", "(a)", '"a"', "a\x7f", "X-\u212aey"]
)
def test_a_malformed_name_is_rejected(name: str):
    with pytest.raises(HeadersRejected, match="not a header name"):
        check_headers({name: "x"})


@pytest.mark.parametrize(
    "value", ["a\r\nx: y", "a\n", "a\r", "\x00", "a\tb", " a", "a ", " ", "é", "\x7f", "a\x1b"]
)
def test_a_malformed_value_is_rejected(value: str):
    with pytest.raises(HeadersRejected, match="printable ASCII"):
        check_headers({"x-a": value})


def test_the_number_of_headers_has_a_limit():
    headers = {f"x-{n}": "v" for n in range(COUNT_MAX)}
    assert len(check_headers(headers)) == COUNT_MAX
    with pytest.raises(HeadersRejected, match="16 at most"):
        check_headers(headers | {"x-more": "v"})


def test_the_size_of_headers_has_a_limit():
    fitting = "v" * (SIZE_MAX - len("x-a") - 4)
    assert check_headers({"x-a": fitting}) == {"x-a": fitting}
    with pytest.raises(HeadersRejected, match="4096 bytes at most"):
        check_headers({"x-a": fitting + "v"})


def test_the_same_name_in_two_cases_is_rejected():
    with pytest.raises(HeadersRejected, match="case-insensitive"):
        check_headers({"X-A": "1", "x-a": "2"})


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=12), max_size=3))
def test_what_passes_is_one_line_for_each_header(headers: dict[str, str]):
    try:
        checked = check_headers(headers)
    except HeadersRejected:
        return
    text = "".join(f"{name}: {value}\r\n" for name, value in checked.items())
    assert len(text.splitlines()) == len(checked)
    assert text.isascii()
