"""What the guard lets a request connect to."""

import asyncio
import socket
import threading
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import resolver as resolver_module
from app.domain.address import parse_url
from app.errors import Blocked, Unresolved
from app.guard import Guard
from app.resolver import Resolver

LOOPBACK = (IPv4Network("127.0.0.0/8"),)


class Names:
    """A resolver with prepared answers: each look-up takes the next one of its name."""

    def __init__(self, **answers: Sequence[Sequence[str] | Exception]) -> None:
        self.answers = {name: list(each) for name, each in answers.items()}
        self.asked: list[str] = []

    async def resolve(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        answer = self.answers[host].pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def vet(names: Names, text: str = "https://name/", **options) -> list[str]:
    guard = Guard(resolve=names.resolve, **options)
    return [str(address) for address in await guard.vet(parse_url(text))]


async def test_a_public_name_gives_its_addresses_in_order_and_once():
    names = Names(name=[["2606:4700::1", "8.8.8.8", "2606:4700::1", "8.8.4.4"]])
    assert await vet(names) == ["2606:4700::1", "8.8.8.8", "8.8.4.4"]
    assert names.asked == ["name"]


@pytest.mark.parametrize(
    "bad",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:7f00:1", "64:ff9b::7f00:1"],
)
@pytest.mark.parametrize("place", [0, 1, 2])
async def test_one_forbidden_answer_among_good_ones_refuses_the_name(bad: str, place: int):
    answers = ["8.8.8.8", "8.8.4.4"]
    answers.insert(place, bad)
    with pytest.raises(Blocked) as caught:
        await vet(Names(name=[answers]))
    assert bad not in str(caught.value)


async def test_a_name_whose_next_answer_is_forbidden_is_refused_then():
    names = Names(name=[["8.8.8.8"], ["127.0.0.1"]])
    guard = Guard(resolve=names.resolve)
    url = parse_url("https://name/")
    assert await guard.vet(url) == [ip_address("8.8.8.8")]
    with pytest.raises(Blocked):
        await guard.vet(url)


@pytest.mark.parametrize(
    "answer",
    [[], socket.gaierror(socket.EAI_NONAME, "unknown"), OSError("down"), UnicodeError("label")],
)
async def test_a_name_without_an_answer_is_unresolved(answer):
    with pytest.raises(Unresolved, match="name has no address"):
        await vet(Names(name=[answer]))


@pytest.mark.parametrize("answer", ["", "name", "1.2.3", "::1::", "/var/run/socket"])
async def test_an_answer_that_is_no_address_is_refused(answer: str):
    with pytest.raises(Blocked):
        await vet(Names(name=[["8.8.8.8", answer]]))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "[::1]", "[::ffff:7f00:1]"]
)
async def test_a_literal_is_judged_without_resolving(host: str):
    names = Names()
    with pytest.raises(Blocked):
        await vet(names, f"http://{host}/")
    assert names.asked == []


async def test_a_public_literal_passes_without_resolving():
    assert await vet(Names(), "http://8.8.2056/") == ["8.8.8.8"]


async def test_an_allowed_network_passes_by_name_and_by_literal():
    assert await vet(Names(name=[["127.0.0.1"]]), allow=LOOPBACK) == ["127.0.0.1"]
    assert await vet(Names(), "http://127.1/", allow=LOOPBACK) == ["127.0.0.1"]
    with pytest.raises(Blocked):
        await vet(Names(name=[["127.0.0.1", "10.0.0.1"]]), allow=LOOPBACK)


async def test_a_port_is_judged_again_when_sending():
    url = parse_url("http://8.8.8.8:25/", allow_ports={25})
    with pytest.raises(Blocked, match="Port 25"):
        await Guard(resolve=Names().resolve).vet(url)
    assert await Guard(allow_ports={25}, resolve=Names().resolve).vet(url) == [url.literal]


async def test_a_fault_of_the_resolver_is_not_taken_for_an_answer():
    with pytest.raises(ZeroDivisionError):
        await vet(Names(name=[ZeroDivisionError()]))


async def test_the_systems_resolver_knows_localhost():
    guard = Guard()
    try:
        with pytest.raises(Blocked):
            await guard.vet(parse_url("http://localhost./"))
        with pytest.raises(Unresolved):
            await guard.vet(parse_url("http://name.invalid/"))
    finally:
        guard.close()


class SlowNames:
    """Stands for the system's blocking look-up: it answers when it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.asked: list[str] = []

    def getaddrinfo(self, host: str) -> list[str]:
        self.asked.append(host)
        if host.startswith("hanging"):
            self.released.wait(10)
        if host.endswith("broken"):
            raise OSError("no answer")
        return ["8.8.8.8"]


@pytest.fixture
def slow_names(monkeypatch: pytest.MonkeyPatch):
    names = SlowNames()
    monkeypatch.setattr(resolver_module, "_getaddrinfo", names.getaddrinfo)
    yield names
    names.released.set()


async def test_a_name_is_looked_up_once_for_all_who_wait(slow_names: SlowNames):
    resolver = Resolver(threads_max=2)
    waiting = [asyncio.ensure_future(resolver.resolve("hanging")) for _ in range(20)]
    await asyncio.sleep(0)
    assert await resolver.resolve("quick") == ["8.8.8.8"]
    waiting[0].cancel()
    slow_names.released.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1:] == [["8.8.8.8"]] * 19
    assert slow_names.asked == ["hanging", "quick"]
    assert await resolver.resolve("hanging") == ["8.8.8.8"]
    assert slow_names.asked == ["hanging", "quick", "hanging"]
    resolver.close()


async def test_a_failed_look_up_that_nobody_waits_for_is_no_unseen_error(slow_names: SlowNames):
    complaints = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    resolver = Resolver(threads_max=1)
    waiting = asyncio.ensure_future(resolver.resolve("hanging-and-broken"))
    await asyncio.sleep(0)
    waiting.cancel()
    slow_names.released.set()
    assert await resolver.resolve("quick") == ["8.8.8.8"]
    resolver.close()
    assert waiting.cancelled()
    assert complaints == []


async def test_the_number_of_look_ups_has_a_limit(slow_names: SlowNames):
    resolver = Resolver(threads_max=1, lookups_max=2)
    waiting = [asyncio.ensure_future(resolver.resolve(f"hanging{n}")) for n in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Unresolved, match="Too many names"):
        await resolver.resolve("quick")
    slow_names.released.set()
    await asyncio.gather(*waiting)
    assert await resolver.resolve("quick") == ["8.8.8.8"]
    resolver.close()


# Every address there is. The oracle goes by octets and groups, written down apart from the table.

# Where a range begins or ends, in octets and in groups; what is drawn lies there or close by.
V4_EDGES = (
    *((octet, 0, 0, 0) for octet in (0, 1, 10, 11, 127, 128, 223, 224, 240, 255)),
    *((100, 64, 0, 0), (100, 128, 0, 0), (169, 254, 0, 0), (169, 255, 0, 0)),
    *((172, 16, 0, 0), (172, 32, 0, 0), (192, 168, 0, 0), (192, 169, 0, 0)),
    *((192, 0, 0, 0), (192, 0, 1, 0), (192, 0, 2, 0), (192, 0, 3, 0)),
    *((192, 88, 99, 0), (192, 88, 100, 0), (198, 18, 0, 0), (198, 20, 0, 0)),
    *((198, 51, 100, 0), (198, 51, 101, 0), (203, 0, 113, 0), (203, 0, 114, 0)),
)
V6_EDGES_TEXT = """
    :: 100:: 100:0:0:1:: ::ffff:0:0 ::1:0:0:0 64:ff9b:: 64:ff9b::1:0:0 64:ff9b:1:: 64:ff9b:2::
    2001:: 2001:200:: 2001:db8:: 2001:db9:: 2002:: 2003:: 3fff:: 3fff:1000:: 5f00:: 5f01::
    fc00:: fe00:: fe80:: fec0:: ff00::
"""
V6_EDGES = tuple(int(IPv6Address(text)) for text in V6_EDGES_TEXT.split())


def near(edge: int, bits: int) -> st.SearchStrategy[int]:
    """Numbers at an edge and round it, closer ones more often."""
    last = (1 << bits) - 1
    far = st.integers(0, bits).flatmap(lambda width: st.integers(-(1 << width), 1 << width))
    return far.map(lambda offset: min(max(edge + offset, 0), last))


V4 = (
    st.integers(0, 2**32 - 1)
    | st.sampled_from([int.from_bytes(each) for each in V4_EDGES]).flatmap(lambda at: near(at, 32))
).map(IPv4Address)
V6 = (
    st.integers(0, 2**128 - 1)
    | st.sampled_from(V6_EDGES).flatmap(lambda at: near(at, 128))
    | V4.map(lambda ip: 0xFFFF << 32 | int(ip))
    | V4.map(lambda ip: 0x64FF9B << 96 | int(ip))
).map(IPv6Address)


def is_special_v4(ip: IPv4Address) -> bool:
    match tuple(ip.packed):
        case (0 | 10 | 127, _, _, _) | (192, 168, _, _) | (169, 254, _, _):
            return True
        case (192, 0, 0 | 2, _) | (192, 88, 99, _) | (198, 51, 100, _) | (203, 0, 113, _):
            return True
        case first, second, _, _:
            return (
                first >= 224
                or (first == 100 and second // 64 == 1)
                or (first == 172 and second // 16 == 1)
                or (first == 198 and second // 2 == 9)
            )


def is_special_v6(ip: IPv6Address) -> bool:
    groups = [int(group, 16) for group in ip.exploded.split(":")]
    if groups[:6] in ([0, 0, 0, 0, 0, 0xFFFF], [0x64, 0xFF9B, 0, 0, 0, 0]):
        return is_special_v4(IPv4Address(ip.packed[12:]))
    first, second = groups[:2]
    return (
        first < 0x100
        or groups[:4] == [0x100, 0, 0, 0]
        or (first == 0x2001 and (second < 0x200 or second == 0xDB8))
        or first in (0x2002, 0x5F00)
        or (first == 0x3FFF and second < 0x1000)
        or 0xFC00 <= first < 0xFE00
        or first >= 0xFE80
    )


async def is_blocked(text: str, names: Names) -> bool:
    try:
        return await vet(names, text) == []
    except Blocked:
        return True


@given(V4)
async def test_an_ipv4_address_is_blocked_exactly_if_it_is_special(ip: IPv4Address):
    expected = is_special_v4(ip)
    assert await is_blocked(f"http://{ip}/", Names()) == expected
    assert await is_blocked(f"http://{int(ip)}/", Names()) == expected
    assert await is_blocked(f"http://{int(ip):#x}/", Names()) == expected
    assert await is_blocked("http://name/", Names(name=[["8.8.8.8", str(ip)]])) == expected


@given(V6)
async def test_an_ipv6_address_is_blocked_exactly_if_it_is_special(ip: IPv6Address):
    expected = is_special_v6(ip)
    assert await is_blocked(f"http://[{ip}]/", Names()) == expected
    assert await is_blocked(f"http://[{ip.exploded}]/", Names()) == expected
    assert await is_blocked("http://name/", Names(name=[["8.8.8.8", str(ip)]])) == expected


@given(V4 | V6)
async def test_what_python_takes_for_special_is_blocked(ip: IPv4Address | IPv6Address):
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    kinds = (ip.is_private, ip.is_loopback, ip.is_link_local, ip.is_multicast, ip.is_unspecified)
    of_v4 = ip.is_reserved if isinstance(ip, IPv4Address) else ip.is_site_local
    if any(kinds) or of_v4:
        assert await is_blocked("http://name/", Names(name=[[str(ip)]]))
