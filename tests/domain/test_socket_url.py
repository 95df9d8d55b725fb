"""Which addresses of sockets may stand in a page's policy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.socket_url import Sockets, origin_of, why_no_socket_url


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("wss://push.example.com/v1/socket", "wss://push.example.com"),
        ("wss://push.example.com/", "wss://push.example.com"),
        ("ws://127.0.0.1:8001/v1/socket", "ws://127.0.0.1:8001"),
        ("ws://[::1]:8001/v1/socket", "ws://[::1]:8001"),
        ("wss://example.com:65535/push/v1/socket", "wss://example.com:65535"),
    ],
)
def test_an_address_of_sockets_has_an_origin(url: str, origin: str):
    assert why_no_socket_url(url) is None
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        *((url, "write wss://") for url in ("", "push.example.com", "https://example.com/v1")),
        *((url, "write wss://") for url in ("wss://example.com", "WSS://example.com/v1/socket")),
        *((url, "write wss://") for url in ("wss:///v1/socket", "wss://h/v1/socket?token=x")),
        *((url, "write wss://") for url in ("wss://h/v1/socket#x", "wss://h/v1/a b", "wss://h/é")),
        *((url, "write wss://") for url in ("wss://h/; script-src *", "wss://h/\r\nx: y")),
        ("wss://bob:pass@h/v1/socket", "scheme://host"),
        ("wss://Example.com/v1/socket", "small ASCII"),
        ("wss://h;script-src/v1", "small ASCII"),
        ("wss://h h/v1", "small ASCII"),
        ("wss://*.example.com/v1", "pattern"),
        ("wss://h:0/v1", "scheme://host"),
        ("wss://h:65536/v1", "a port over 65535"),
    ],
)
def test_what_is_none_is_told_why(url: str, reason: str):
    assert reason in str(why_no_socket_url(url))


@pytest.mark.parametrize(
    ("host", "is_secure", "url"),
    [
        ("localhost:8000", False, "ws://localhost:8001/v1/socket"),
        ("192.168.1.5:8000", False, "ws://192.168.1.5:8001/v1/socket"),
        ("[::1]:8000", False, "ws://[::1]:8001/v1/socket"),
        ("[::1]", False, "ws://[::1]:8001/v1/socket"),
        ("Moments.Example.COM", True, "wss://moments.example.com:8001/v1/socket"),
    ],
)
def test_a_port_is_looked_for_on_the_pages_own_host(host: str, is_secure: bool, url: str):
    assert Sockets(port=8001).seen_from(host, is_secure=is_secure) == url


@pytest.mark.parametrize(
    "host",
    [
        *("", ":8000", "h:x", "a b", "h; script-src *", "h,x", "h'x", "*", "[::1", "::1"),
        *("h\r\nx: y", "[x]:8000", "bob@h", "h/x", "h?x", "h:80:80", "é.example"),
    ],
)
def test_a_header_that_names_no_host_leads_nowhere(host: str):
    assert Sockets(port=8001).seen_from(host, is_secure=False) is None


@given(st.text(max_size=40))
def test_whatever_the_header_holds_a_policy_has_one_origin_more(host: str):
    url = Sockets(port=8001).seen_from(host, is_secure=False)
    if url is not None:
        assert not set(origin_of(url)) & set(" ;,'\"\r\n\t*")
        assert origin_of(url).isascii()


def test_an_address_that_was_set_is_the_address_wherever_the_page_is_from():
    given = Sockets(url="wss://push.example.com/v1/socket", port=8001)
    assert given.seen_from("h; script-src *", is_secure=False) == given.url
    assert Sockets().seen_from("localhost", is_secure=False) is None
