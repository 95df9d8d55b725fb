"""Who is counted: nobody can choose the address that they are counted under."""

from collections import Counter
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.client import FORWARDED_CHARS_MAX, NOBODY, Addresses, client_of, is_trusted

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
outside = st.ip_addresses(v=4).map(str).filter(lambda text: not text.startswith("10."))
inside = st.integers(0, 2**24 - 1).map(lambda low: str(IPv4Address((10 << 24) + low)))


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, NOBODY),
        ("", NOBODY),
        ("/run/moments.sock", NOBODY),
    ],
)
def test_without_proxies_it_is_the_peer(peer, client):
    assert client_of(peer) == client
    assert client_of(peer, ["198.51.100.1"]) == client
    assert client_of(peer, ["198.51.100.1"], PROXIES) == client


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ([], "10.0.0.1"),
        (["192.0.2.7"], "192.0.2.7"),
        (["192.0.2.7, 10.0.0.9"], "192.0.2.7"),
        (["192.0.2.7", "10.0.0.9"], "192.0.2.7"),
        (["6.6.6.6, 192.0.2.7,10.0.0.9"], "192.0.2.7"),  # the first was claimed by the client
        (["6.6.6.6", "192.0.2.7 , fd00::5"], "192.0.2.7"),
        (["10.0.0.3, 10.0.0.9"], "10.0.0.3"),
        (["192.0.2.7:4711"], "192.0.2.7"),
        (["[2001:db8::1]:4711"], "2001:db8::/64"),
        (["2001:db8::1"], "2001:db8::/64"),
        (["::ffff:192.0.2.7"], "192.0.2.7"),
        (["192.0.2.7, unknown"], "10.0.0.1"),
        (["192.0.2.7, unknown, 10.0.0.9"], "10.0.0.9"),
        (["192.0.2.7,"], "10.0.0.1"),
        ([""], "10.0.0.1"),
    ],
)
def test_a_proxy_of_ones_own_says_whom_it_speaks_for(forwarded, client):
    assert client_of("10.0.0.1", forwarded, PROXIES) == client


@given(outside, st.lists(st.text(max_size=30)), inside)
def test_a_client_cannot_say_who_it_is(client, claimed, proxy):
    assert client_of(client, claimed, PROXIES) == client
    # Behind a proxy, which adds the address that it sees:
    assert client_of(proxy, [*claimed, client], PROXIES) == client


@given(st.lists(outside, max_size=500), outside)
def test_however_long_the_list_is_its_end_is_what_counts(claimed, client):
    forwarded = ", ".join([*claimed, client])
    assert client_of("10.0.0.1", [forwarded], PROXIES) == client


@given(st.text(max_size=50), st.lists(st.text(max_size=50), max_size=4))
def test_whatever_stands_there_somebody_is_counted(peer, forwarded):
    assert client_of(peer, forwarded, PROXIES)


def test_the_list_is_read_up_to_a_bound():
    many = ",".join(["10.0.0.9"] * FORWARDED_CHARS_MAX)
    assert client_of("10.0.0.1", [f"192.0.2.7,{many}"], PROXIES) == "10.0.0.9"


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_the_holder_of_a_network_is_counted_once(network, one, other):
    first, second = (IPv6Address((network << 64) + low) for low in (one, other))
    if first.ipv4_mapped is None and second.ipv4_mapped is None:
        assert client_of(str(first)) == client_of(str(second))


@pytest.mark.parametrize(
    ("peer", "is_one"),
    [
        *(("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("fd00::1", True)),
        *(("11.1.2.3", False), (None, False), ("", False)),
    ],
)
def test_a_proxy_is_known_by_its_network(peer, is_one):
    assert is_trusted(peer, PROXIES) is is_one
    assert not is_trusted(peer, ())


def test_an_address_has_so_many_connections_and_another_has_its_own():
    addresses = Addresses(2, PROXIES)
    ann, bob = addresses.counted("192.0.2.7"), addresses.counted("10.0.0.1", ["192.0.2.8"])
    assert (ann, bob) == ("192.0.2.7", "192.0.2.8")
    assert [addresses.enter(ann) for _ in range(4)] == [True, True, False, False]
    assert addresses.enter(bob)
    addresses.leave(ann)
    assert [addresses.enter(ann) for _ in range(2)] == [True, False]
    for address in (ann, ann, bob):
        addresses.leave(address)
    assert len(addresses) == 0


def test_a_proxy_counts_for_nobody_until_it_says_whom_it_speaks_for():
    addresses = Addresses(2, PROXIES)
    assert addresses.counted("10.0.0.1") is None
    assert addresses.counted("10.0.0.1", []) == "10.0.0.1"


def test_without_a_limit_nothing_is_counted():
    assert Addresses(0).counted("192.0.2.7") is None
    assert Addresses(0).counted("192.0.2.7", ["192.0.2.8"]) is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_no_address_is_kept_that_has_no_connection(steps):
    addresses, open_ = Addresses(3), Counter()
    for address, comes in steps:
        if comes:
            assert addresses.enter(address) is (open_[address] < 3)
            open_[address] += open_[address] < 3
        elif open_[address]:
            addresses.leave(address)
            open_[address] -= 1
        assert len(addresses) == len(+open_)
