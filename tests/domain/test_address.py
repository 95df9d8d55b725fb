"""Which URLs and which IP addresses a webhook may be sent to."""

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.domain.address import HOST_SIZE_MAX, URL_SIZE_MAX, is_forbidden, is_open_port, parse_url
from app.errors import UrlRejected

LOOPBACK = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))

# First and last address of every range, one by one: a narrowed or shifted range shows here.
FORBIDDEN_TEXT = """
    0.0.0.0 0.255.255.255  10.0.0.0 10.255.255.255  100.64.0.0 100.127.255.255
    127.0.0.0 127.255.255.255  169.254.0.0 169.254.169.254 169.254.255.255
    172.16.0.0 172.31.255.255  192.0.0.0 192.0.0.255  192.0.2.0 192.0.2.255
    192.88.99.0 192.88.99.255  192.168.0.0 192.168.255.255  198.18.0.0 198.19.255.255
    198.51.100.0 198.51.100.255  203.0.113.0 203.0.113.255  224.0.0.0 239.255.255.255
    240.0.0.0 255.255.255.255
    :: ::1 ::7f00:1 ff:: ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
    ::ffff:127.0.0.1 ::ffff:7f00:1 ::ffff:169.254.169.254 64:ff9b::7f00:1 64:ff9b::10.0.0.1
    64:ff9b:0:1:: 64:ff9b:1:: 64:ff9b:1:ffff:ffff:ffff:ffff:ffff  100:: 100::ffff:ffff:ffff:ffff
    2001:: 2001:0:7f00:1:: 2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff
    2001:db8:: 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff
    2002:: 2002:7f00:1:: 2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff
    3fff:: 3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff  5f00:: 5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff
    fc00:: fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff fd00:ec2::254
    fe80:: febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff fe80::1%eth0
    fec0:: feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff  ff00:: ff02::1
    ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
"""
# What lies just outside of them.
OPEN_TEXT = """
    1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0
    169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 192.0.1.255
    192.0.3.0 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0
    198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255 8.8.8.8
    ::ffff:8.8.8.8 64:ff9b::8.8.8.8 100:0:0:1:: 2001:200:: 2001:4860:4860::8888
    2001:db7:ffff:ffff:ffff:ffff:ffff:ffff 2001:db9:: 2003:: 3ffe:: 3fff:1000:: 5eff:: 5f01::
    fbff:: fe00:: fe7f:: 2606:4700::1111
"""

FORBIDDEN = FORBIDDEN_TEXT.split()
OPEN = OPEN_TEXT.split()

ipv4 = st.builds(IPv4Address, st.integers(0, 2**32 - 1)) | st.sampled_from(
    [ip for text in FORBIDDEN + OPEN if isinstance(ip := ip_address(text), IPv4Address)]
)


def mapped(ip: IPv4Address) -> IPv6Address:
    return IPv6Address(0xFFFF << 32 | int(ip))


def translated(ip: IPv4Address) -> IPv6Address:
    return IPv6Address(int(IPv6Address("64:ff9b::")) | int(ip))


@pytest.mark.parametrize("text", FORBIDDEN)
def test_a_special_address_is_forbidden(text: str):
    assert is_forbidden(ip_address(text))


@pytest.mark.parametrize("text", OPEN)
def test_a_public_address_is_open(text: str):
    assert not is_forbidden(ip_address(text))


@given(ipv4)
def test_an_ipv4_address_is_forbidden_exactly_if_the_ipv6_forms_that_reach_it_are(ip: IPv4Address):
    assert is_forbidden(mapped(ip)) == is_forbidden(ip) == is_forbidden(translated(ip))


@given(ipv4)
def test_opening_a_network_opens_the_same_addresses_in_every_form(ip: IPv4Address):
    opened = is_forbidden(ip, LOOPBACK)
    assert opened == is_forbidden(mapped(ip), LOOPBACK) == is_forbidden(translated(ip), LOOPBACK)


@given(ipv4)
def test_an_ipv4_compatible_or_6to4_address_is_always_forbidden(ip: IPv4Address):
    assert is_forbidden(IPv6Address(int(ip)))
    assert is_forbidden(IPv6Address(0x2002 << 112 | int(ip) << 80))


@pytest.mark.parametrize("text", ["127.0.0.1", "127.8.9.10", "::ffff:127.0.0.1", "::1"])
def test_an_allowed_network_is_open(text: str):
    assert not is_forbidden(ip_address(text), LOOPBACK)


@pytest.mark.parametrize("text", ["10.0.0.1", "169.254.169.254", "::2", "::ffff:10.0.0.1"])
def test_an_allowed_network_opens_nothing_beside_it(text: str):
    assert is_forbidden(ip_address(text), LOOPBACK)


def test_opening_all_of_ipv6_does_not_open_ipv4_through_it():
    assert not is_forbidden(ip_address("fd00::1"), (IPv6Network("::/0"),))
    assert is_forbidden(ip_address("::ffff:127.0.0.1"), (IPv6Network("::/0"),))


@pytest.mark.parametrize(
    ("text", "host", "port", "target", "origin", "host_header"),
    [
        ("https://a.example", "a.example", 443, "/", "https://a.example:443", "a.example"),
        ("http://a.example:80/x", "a.example", 80, "/x", "http://a.example:80", "a.example"),
        ("http://a.example:443", "a.example", 443, "/", "http://a.example:443", "a.example:443"),
        ("HTTPS://A.Example.:8443/?", "a.example", 8443, "/?", None, "a.example:8443"),
        ("https://a.example:/x?y=z", "a.example", 443, "/x?y=z", None, "a.example"),
        ("https://a.example?y", "a.example", 443, "/?y", None, "a.example"),
        ("https://my_service/hook", "my_service", 443, "/hook", None, "my_service"),
        ("https://bücher.example/", "xn--bcher-kva.example", 443, "/", None, None),
        ("https://faß.example/", "xn--fa-hia.example", 443, "/", None, None),
        ("https://a。example/", "a.example", 443, "/", None, None),
        ("http://[2606:4700::1]:8080/", "2606:4700::1", 8080, "/", None, "[2606:4700::1]:8080"),
        (
            "http://[2606:4700:0:0::0001]/",
            "2606:4700::1",
            80,
            "/",
            "http://[2606:4700::1]:80",
            None,
        ),
        ("http://a.example/ü/%C3%BC", "a.example", 80, "/%C3%BC/%C3%BC", None, None),
        ('http://a.example/{a}?q="<>^`|', None, 80, "/%7Ba%7D?q=%22%3C%3E%5E%60%7C", None, None),
        ("http://a.example/a;b=c,d/(e)'!*~@:[x]?a[]=1&b=+", None, 80, None, None, None),
    ],
)
def test_a_url_is_taken_apart(text, host, port, target, origin, host_header):
    url = parse_url(text)
    assert url.port == port
    assert host is None or url.host == host
    assert url.target == (text.removeprefix("http://a.example") if target is None else target)
    assert origin is None or url.origin == origin
    assert host_header is None or url.host_header == host_header
    assert url.is_tls == text.lower().startswith("https")
    assert parse_url(str(url)) == url


def test_the_same_place_in_two_spellings_has_one_origin():
    one, other = parse_url("https://EXAMPLE.com./a"), parse_url("https://example.com:443/b")
    assert one.origin == other.origin
    assert one.origin != parse_url("http://example.com:443/").origin


LOOPBACK_SPELLINGS = """
    127.0.0.1 127.0.0.1. 127.1 127.0.1 2130706433 0x7f000001 0X7F000001 0x7f.1 0x7f.0x0.0x0.0x1
    0177.0.0.1 017700000001 0177.1 127.0.0.01 127.0x1 [::ffff:127.0.0.1] [::ffff:7f00:1]
    [64:ff9b::7f00:1] [0:0:0:0:0:FFFF:7F00:0001] \uff11\uff12\uff17.0.0.1 127\u30020\u30020\u30021
    \u2460\u2461\u2466.\u24ea.\u24ea.\u2460
"""


@pytest.mark.parametrize("host", LOOPBACK_SPELLINGS.split())
def test_every_spelling_of_loopback_is_seen_as_loopback(host: str):
    literal = parse_url(f"http://{host}/").literal
    assert literal is not None
    assert is_forbidden(literal)
    assert not is_forbidden(literal, LOOPBACK)


@pytest.mark.parametrize(
    ("host", "usual"),
    [
        ("0", "0.0.0.0"),
        ("0xffffffff", "255.255.255.255"),
        ("8.8.2056", "8.8.8.8"),
        ("010.8.8.8", "8.8.8.8"),
        ("[::]", "::"),
        ("[::1]", "::1"),
    ],
)
def test_a_literal_is_kept_in_its_usual_spelling(host: str, usual: str):
    url = parse_url(f"http://{host}/")
    assert (url.host, url.literal) == (usual, ip_address(usual))


@given(
    st.lists(
        st.one_of(
            st.integers(0, 2**33).map(str),
            st.integers(0, 2**33).map(hex),
            st.integers(0, 2**33).map(lambda n: f"0{n:o}"),
            st.integers(0, 300).map(str),
            st.sampled_from(["08", "0x", "0xg", "1_0", "a", "1a", "00", "-1", "1-1"]),
        ),
        min_size=1,
        max_size=5,
    ).map(".".join)
)
@example("1_0.0.0.1")
@example("0x7f.1")
def test_no_host_that_the_system_takes_for_an_address_passes_as_a_name(host: str):
    try:
        packed = socket.inet_aton(host)
    except OSError:
        packed = None
    try:
        literal = parse_url(f"http://{host}/").literal
    except UrlRejected:
        literal = None
        assert packed is None or "0x" in host.split(".")
    else:
        assert literal == (None if packed is None else IPv4Address(packed))


REJECTED = {
    "": "https://host/path",
    "a.example/hook": "https://host/path",
    "//a.example/": "https://host/path",
    "https:a.example": "https://host/path",
    "ftp://a.example/": "https or http",
    "file:///etc/passwd": "https or http",
    "gopher://a.example:70/": "https or http",
    "javascript://a.example/": "https or http",
    "https://": "no host",
    "https:///hook": "no host",
    "https://./": "no host",
    "https://user@a.example/": "header",
    "https://user:secret@a.example/": "header",
    "http://good@127.0.0.1/": "header",
    "https://a.example/#": "'#'",
    "https://a.example/x#part": "'#'",
    "https://a.example#@127.0.0.1": "'#'",
    "https://a.example/a b": "percent-encode",
    " https://a.example/": "percent-encode",
    "https://a.example/\n": "percent-encode",
    "https://a.example/\r\nx-evil: 1": "percent-encode",
    "https://a.example/\t": "percent-encode",
    "https://a.example/\x00": "percent-encode",
    "https://a.example/\x7f": "percent-encode",
    "https://a.example\\@127.0.0.1/": "percent-encode",
    "https://a.example/\ud800": "Unicode",
    "https://a.example:0/": "out of range",
    "https://a.example:65536/": "out of range",
    "https://a.example:123456/": "host:port",
    "https://a.example:8o/": "host:port",
    "https://a.example:-1/": "host:port",
    "https://a.example:\u0661\u0662/": "host:port",
    "https://a.example:443:443/": "host:port",
    "https://::1/": "host:port",
    "https://[::1/": "host:port",
    "https://[::1]x/": "host:port",
    "https://[127.0.0.1]/": "IPv6 address",
    "https://[]/": "IPv6 address",
    "https://[fe80::1%25eth0]/": "zone",
    "https://a..example/": "malformed",
    "https://.example/": "malformed",
    "https://a.example../": "malformed",
    "https://-a.example/": "malformed",
    "https://a-.example/": "malformed",
    "https://a%2eexample/": "malformed",
    "https://a,b.example/": "malformed",
    "https://*.example/": "malformed",
    f"https://{'a' * 64}.example/": "malformed",
    "https://\u2024.example/": "international",
    "https://\u0dc0.\u200d.example/": "international",
    f"https://{'ab.' * 84}de/": "malformed",
    f"https://{'ab.' * 90}example/": "too long",
    "https://1.2.3.4.5/": "IPv4 address",
    "https://256.1.1.1/": "IPv4 address",
    "https://1.2.3.256/": "IPv4 address",
    "https://4294967296/": "IPv4 address",
    "https://0x100000000/": "IPv4 address",
    "https://a.example.1/": "IPv4 address",
    "https://08.0.0.1/": "IPv4 address",
    "https://1_0.0.0.1/": "IPv4 address",
    "https://0x/": "IPv4 address",
    f"https://a.example/{'x' * URL_SIZE_MAX}": "too long",
    f"https://a.example/{'ü' * (URL_SIZE_MAX // 4)}": "too long",
}


@pytest.mark.parametrize(("text", "advice"), REJECTED.items(), ids=ascii)
def test_a_bad_url_is_rejected_with_what_to_do(text: str, advice: str):
    with pytest.raises(UrlRejected) as caught:
        parse_url(text)
    assert advice in str(caught.value)


def test_the_longest_host_and_url_pass():
    host = ("a" * 61 + ".") * 4 + "b" * 5
    assert len(host) == HOST_SIZE_MAX
    assert parse_url(f"https://{host}/").host == host
    text = "https://a.example/".ljust(URL_SIZE_MAX, "x")
    assert len(str(parse_url(text))) == URL_SIZE_MAX


@pytest.mark.parametrize("port", [1, 21, 22, 23, 25, 79, 81, 110, 442, 444, 1023])
def test_a_port_of_another_service_is_rejected_unless_allowed(port: int):
    with pytest.raises(UrlRejected, match="use 80, 443 or 1024 to 65535"):
        parse_url(f"http://a.example:{port}/")
    assert parse_url(f"http://a.example:{port}/", allow_ports={port}).port == port
    assert not is_open_port(port, {port + 1})


@pytest.mark.parametrize("port", [80, 443, 1024, 8080, 65535])
def test_a_port_of_the_web_or_a_free_one_is_open(port: int):
    assert parse_url(f"http://a.example:{port}/").port == port


@given(st.text(max_size=60) | st.text("htps:/.0x1278[]@#?%\\ \r\nabé", max_size=40))
def test_any_text_is_either_rejected_or_safe_to_put_into_a_request(text: str):
    try:
        url = parse_url("http://" + text)
    except UrlRejected:
        return
    assert url.host_header.isascii()
    line = f"POST {url.target} HTTP/1.1\r\nhost: {url.host_header}\r\n\r\n"
    assert line.isascii()
    assert line.splitlines() == [line[: line.index("\r")], f"host: {url.host_header}", ""]
    assert len(line.split("\r\n")[0].split(" ")) == 3
    assert parse_url(str(url)) == url
