"""What the guard lets a request connect to."""

import asyncio
import socket
import threading
from collections.abc import Sequence
from ipaddress import IPv4Network, ip_address

import pytest

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
