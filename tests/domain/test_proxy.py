"""What names an egress proxy, and what does not."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.proxy import parse_proxy
from app.errors import ProxyRejected


@pytest.mark.parametrize(
    ("text", "is_tls", "host", "port", "shown"),
    [
        ("http://proxy.internal:3128", False, "proxy.internal", 3128, "http://proxy.internal:3128"),
        (
            "HTTP://Proxy.Internal.:3128/",
            False,
            "proxy.internal",
            3128,
            "http://proxy.internal:3128",
        ),
        ("https://proxy:443", True, "proxy", 443, "https://proxy:443"),
        ("http://10.0.0.5:80", False, "10.0.0.5", 80, "http://10.0.0.5:80"),
        ("http://[fd00::5]:3128", False, "fd00::5", 3128, "http://[fd00::5]:3128"),
        ("http://me:secret@proxy:25", False, "proxy", 25, "http://proxy:25"),
    ],
)
def test_it_has_a_place_and_shows_no_more(
    text: str, is_tls: bool, host: str, port: int, shown: str
):
    proxy = parse_proxy(text)
    assert (proxy.is_tls, proxy.host, proxy.port) == (is_tls, host, port)
    assert str(proxy) == shown
    assert "Basic" not in repr(proxy)


@pytest.mark.parametrize(
    ("userinfo", "said"),
    [
        ("me:secret", "me:secret"),
        ("me", "me:"),
        (":", ":"),
        ("me:p%40ss%3A%2F", "me:p@ss:/"),
        ("me:a:b@c", "me:a:b@c"),
        ("j%C3%B6rg:pw", "jörg:pw"),
    ],
)
def test_user_and_password_are_sent_as_basic(userinfo: str, said: str):
    request = parse_proxy(f"http://{userinfo}@proxy:3128").connect_request("8.8.8.8", 443)
    assert request.decode().split("\r\n") == [
        "CONNECT 8.8.8.8:443 HTTP/1.1",
        "host: 8.8.8.8:443",
        "proxy-authorization: Basic " + base64.b64encode(said.encode()).decode(),
        *("", ""),
    ]


def test_without_a_user_nothing_is_said_of_one():
    request = parse_proxy("http://proxy:3128").connect_request("[2606:4700::1]", 80)
    assert request == b"CONNECT [2606:4700::1]:80 HTTP/1.1\r\nhost: [2606:4700::1]:80\r\n\r\n"


@pytest.mark.parametrize(
    "text",
    [
        *("", "proxy", "proxy:3128", "//proxy:3128", "socks5://proxy:1080", "ftp://proxy:21"),
        *("http://", "http://:3128", "http://proxy", "http://proxy:", "http://proxy:0"),
        *("http://proxy:65536", "http://proxy:x", "http://proxy:3128/path", "http://proxy:3128?x"),
        *("http://proxy:3128#x", "http://pro xy:3128", "http://[::1:3128", "http://[fe80::1%0]:1"),
        *("http://hush/hush:hush@proxy:3128", "http://hush%3Ahush:x@proxy:3128"),
        *("http://me:hush%0d%0ahost@proxy:3128", "http://me:hush%ff@proxy:3128"),
        *("http://me:hush\r\n@proxy:3128", "http://me:hush@proxy:port", "http://me:hush@"),
        "http://me:hush@" + "x" * 1_100 + ":3128",
    ],
)
def test_what_is_no_proxy_is_refused_and_not_shown(text: str):
    with pytest.raises(ProxyRejected) as refused:
        parse_proxy(text)
    assert "hush" not in str(refused.value)
    assert refused.value.__cause__ is None


@given(st.text(max_size=40))
def test_nothing_that_is_taken_says_more_than_one_request(text: str):
    try:
        proxy = parse_proxy(f"http://{text}@proxy:3128")
    except ProxyRejected:
        return
    lines = proxy.connect_request("8.8.8.8", 443).decode().split("\r\n")
    assert len(lines) == 5
    assert not any(char in line for line in lines for char in "\r\n\x00")
