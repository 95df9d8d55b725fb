"""What a browser may name as the origin of a page."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.origin import is_of_host, why_no_origin


@pytest.mark.parametrize(
    "origin",
    [
        *("https://app.example.com", "http://localhost:3000", "https://example.com:8443"),
        *("http://127.0.0.1:8000", "http://[::1]:8000", "https://xn--bcher-kva.example"),
        *("capacitor://localhost", "tauri://localhost", "chrome-extension://abcdefghijklmnop"),
    ],
)
def test_what_browsers_send_is_taken(origin: str):
    assert why_no_origin(origin) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("null", "sandboxed"),
        ("*", "pattern"),
        ("https://*.example.com", "pattern"),
        ("example.com", "scheme://host"),
        ("https://", "scheme://host"),
        ("https://example.com/", "no path"),
        ("https://example.com/app", "no path"),
        ("https://bob@example.com", "scheme://host"),
        ("https://example.com:", "scheme://host"),
        ("https://example.com:0443", "scheme://host"),
        ("HTTPS://example.com", "small letters"),
        ("https://Example.com", "small"),
        ("https://bücher.example", "punycode"),
        ("https://example.com evil", "small ASCII"),
        ("https://example.com:443", "own port"),
        ("http://example.com:80", "own port"),
        ("https://[::1", "scheme://host"),
        ("", "scheme://host"),
    ],
)
def test_what_none_would_send_is_told(text: str, reason: str):
    assert reason in (why_no_origin(text) or "taken")


@given(st.text(max_size=40) | st.from_regex(r"https?://[a-zA-Z0-9.:/*@?# -]{0,20}", fullmatch=True))
def test_what_is_taken_is_one_word_without_a_path(text: str):
    if why_no_origin(text) is None:
        scheme, _, rest = text.partition("://")
        assert scheme
        assert rest
        assert text.isascii()
        assert text == text.lower()
        assert not set(rest) & set(" /?#@*,")


@pytest.mark.parametrize("origin", ["http://a.example:8000", "https://a.example:8000"])
def test_a_page_of_the_host_is_known(origin: str):
    assert is_of_host(origin, "a.example:8000")


@pytest.mark.parametrize(
    "origin",
    [
        *("", "null", "a.example:8000", "http://a.example", "http://b.example:8000", "http://["),
        *("http://x@a.example:8000", "http://a.example:8000.evil.example"),
    ],
)
def test_a_page_of_another_host_is_not_of_it(origin: str):
    assert not is_of_host(origin, "a.example:8000")


@pytest.mark.parametrize("host", ["", None])
def test_without_a_host_no_page_is_of_it(host: str | None):
    assert not is_of_host("", host)
    assert not is_of_host("null", host)
