"""What a store's URL may look like, and what the message says when it does not."""

import ssl
from pathlib import Path

import pytest

from app.errors import StoreUrlInvalid
from app.store.url import Address, Kind, Login, StoreUrl, passwords_of
from tests.certificates import Authority


@pytest.mark.parametrize(
    ("url", "kind", "addresses", "login"),
    [
        ("redis://localhost", "single", [("localhost", 6379)], Login()),
        ("redis://:pw@[::1]:7000/3", "single", [("::1", 7000)], Login("", "pw", 3)),
        ("redis://u%40x:p%3Aw@h:1?db=2", "single", [("h", 1)], Login("u@x", "p:w", 2)),
        ("redis://h?username=u&password=p", "single", [("h", 6379)], Login("u", "p")),
        ("unix:///run/a%20b.sock?db=4", "single", [("/run/a b.sock", 0)], Login("", "", 4)),
        ("unix://u:p@/s", "single", [("/s", 0)], Login("u", "p")),
        (
            "redis+sentinel://u:p@a,b:1/main/5",
            "sentinel",
            [("a", 26379), ("b", 1)],
            Login("u", "p", 5),
        ),
        ("redis+cluster://a:1,b:2", "cluster", [("a", 1), ("b", 2)], Login()),
        ("redis+cluster://:p@a/0", "cluster", [("a", 6379)], Login("", "p")),
    ],
)
def test_a_url_is_read(url: str, kind: str, addresses: list[tuple[str, int]], login: Login) -> None:
    read = StoreUrl.parse(url)
    assert read.kind == Kind(kind)
    assert read.addresses == tuple(Address(*address) for address in addresses)
    assert read.login == login
    assert read.tls is None


def test_sentinels_have_a_service_and_a_login_of_their_own() -> None:
    read = StoreUrl.parse("redis+sentinel://a/my%20app?sentinel_password=sp&sentinel_username=su")
    assert read.service == "my app"
    assert read.sentinel_login == Login("su", "sp")


@pytest.mark.parametrize("scheme", ["rediss", "rediss+cluster"])
def test_tls_checks_certificate_and_host_unless_told_otherwise(scheme: str) -> None:
    checked = StoreUrl.parse(f"{scheme}://h").tls
    assert checked is not None
    assert checked.verify_mode == ssl.CERT_REQUIRED
    assert checked.check_hostname
    unchecked = StoreUrl.parse(f"{scheme}://h?ssl_cert_reqs=none").tls
    assert unchecked is not None
    assert unchecked.verify_mode == ssl.CERT_NONE


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("localhost:6379", "it has no scheme"),
        ("http://h", "'http' is not a scheme of it"),
        ("rediss+unix://h", "'rediss\\+unix' is not a scheme of it"),
        ("redis://", "a host is missing"),
        ("redis://a,b", "several hosts need"),
        ("redis://h:0", "a port must be a number from 1 to 65535"),
        ("redis://h:99999", "a port must be a number from 1 to 65535"),
        ("redis://h/x", "the database must be a number"),
        ("redis://h?timeout=3", "it does not know the option 'timeout', only db, password"),
        ("redis://h?ssl_cert_reqs=none", "it does not know the option 'ssl_cert_reqs'"),
        ("rediss://h?ssl_cert_reqs=maybe", "must be 'required' or 'none'"),
        ("unix://run/s", "a third slash"),
        ("unix://", "a third slash"),
        ("redis+sentinel://a:1", "the name of the service is missing"),
        ("redis+cluster://a/1", "a cluster has only database 0"),
        ("redis+cluster://a,,b", "a host is missing"),
    ],
)
def test_a_bad_url_says_what_is_wrong_and_what_to_write(url: str, reason: str) -> None:
    with pytest.raises(StoreUrlInvalid, match=reason) as caught:
        StoreUrl.parse(url)
    assert "redis+cluster://[user:password@]host:port" in str(caught.value)


def test_a_missing_file_of_certificates_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUrlInvalid, match="TLS options cannot be read"):
        StoreUrl.parse(f"rediss://h?ssl_ca_certs={tmp_path}/none.pem")


def test_no_password_gets_into_messages_or_logs() -> None:
    read = StoreUrl.parse("redis://user:geheim@h:1")
    assert "geheim" not in repr(read)
    with pytest.raises(StoreUrlInvalid) as caught:
        StoreUrl.parse("redis://user:geheim@h:port")
    assert "geheim" not in str(caught.value)


def test_a_password_may_come_beside_the_url_and_not_twice():
    read = StoreUrl.parse("redis://moments@h/1", "p:w")
    assert read.login == Login("moments", "p:w", 1)
    assert StoreUrl.parse("redis://:own@h", "").login.password == "own"
    with pytest.raises(StoreUrlInvalid, match="another one is set beside it") as caught:
        StoreUrl.parse("redis://:geheim@h", "hushhush")
    assert "geheim" not in str(caught.value)
    assert "hushhush" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("redis://u:p%40w@h", {"p%40w", "p@w"}),
        ("redis://u:p/w@h:port", {"p/w"}),
        ("redis+sentinel://h/m?password=a&sentinel_password=b", {"a", "b"}),
        *(("redis://h", set()), ("nonsense", set()), ("unix:///s", set())),
    ],
)
def test_passwords_are_found_in_any_url_to_be_hidden(url: str, found: set[str]) -> None:
    assert set(passwords_of(url)) == found


def test_a_key_without_its_certificate_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(StoreUrlInvalid, match="ssl_keyfile needs its certificate"):
        StoreUrl.parse(f"rediss://h?ssl_keyfile={tmp_path}/client.key")


def test_a_key_with_a_passphrase_is_a_mistake_and_not_asked_for(tmp_path: Path) -> None:
    file = Authority(tmp_path).client_file("moments", passphrase=b"hush")
    with pytest.raises(StoreUrlInvalid, match="TLS options cannot be read"):
        StoreUrl.parse(f"rediss://h?ssl_certfile={file}")
