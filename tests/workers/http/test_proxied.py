"""The HTTP client behind an egress proxy, on real sockets: a CONNECT proxy, and real receivers."""

import asyncio
import ssl
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from app.domain.attempt import Failure
from tests.certificates import Authority
from tests.connect_proxy import (
    ANSWERS,
    DEAF,
    HANG,
    OPENED,
    ConnectProxy,
    ProxyProcess,
    proxy_process,
)
from tests.receivers import (
    Receiver,
    banner,
    hang,
    refusing_port,
    reset_before_request,
    silence,
    status,
)
from tests.wait import wait_until
from tests.workers.http.sending import MakeClient, Names, post
from workers.http.client import Client

PUBLIC = "93.184.216.34"
SIX = "2606:4700::1"
NAMES = {"hooks.example": [PUBLIC], "two.example": [SIX, PUBLIC], "inside.example": ["10.0.0.7"]}

_connected: list[Any] = []  # addresses of the connections that this process has begun


@pytest.fixture(scope="session", autouse=True)
def noted_connections() -> None:
    def note(event: str, args: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            _connected.append(args[1])

    sys.addaudithook(note)  # for good: it cannot be taken away


@pytest.fixture
async def proxy() -> AsyncIterator[ConnectProxy]:
    async with ConnectProxy() as proxy:
        yield proxy


@pytest.fixture
def names() -> Names:
    return Names(**NAMES, localhost=["127.0.0.1"])


def place(receiver: Receiver) -> str:
    return f"127.0.0.1:{receiver.port}"


def lead(proxy: ConnectProxy, *hosts: str) -> None:
    """The network of the proxy has this machine at these addresses."""
    proxy.routes |= dict.fromkeys(hosts, "127.0.0.1")


# The way there


async def test_a_request_goes_by_a_tunnel_to_the_judged_address(
    make_client: MakeClient, proxy: ConnectProxy, names: Names
):
    client = make_client(proxy=proxy.url, resolve=names.resolve)
    async with Receiver(status(202, body=b"thanks")) as receiver:
        lead(proxy, PUBLIC)
        outcome = await post(client, f"http://hooks.example:{receiver.port}/hook?a=b", "/hook?a=b")
    assert (outcome.status, outcome.excerpt, outcome.ok) == (202, b"thanks", True)
    assert proxy.asked == [f"{PUBLIC}:{receiver.port}"]
    assert names.asked == ["hooks.example"]
    (request,) = receiver.requests
    assert (request.target, request.headers["host"]) == ("/hook?a=b", "receiver")
    assert b"authorization" not in proxy.heads[0]


async def test_the_receiver_of_an_https_url_is_known_by_its_name_inside_the_tunnel(
    make_client: MakeClient,
    proxy: ConnectProxy,
    names: Names,
    authority: Authority,
    trusting: ssl.SSLContext,
):
    asked_for: list[str | None] = []
    context = authority.server_context("hooks.example")
    context.sni_callback = lambda _, name, __: asked_for.append(name)
    client = make_client(proxy=proxy.url, resolve=names.resolve, tls=trusting)
    async with Receiver(tls=context) as receiver:
        lead(proxy, PUBLIC, SIX)
        assert (await post(client, f"https://Hooks.Example.:{receiver.port}/")).ok
        outcome = await post(client, f"https://two.example:{receiver.port}/")
    assert (outcome.status, outcome.failure) == (0, Failure.TLS)
    assert asked_for == ["hooks.example", "two.example"]
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("is_tls", [False, True])
async def test_the_proxy_may_want_tls_itself(
    make_client: MakeClient, authority: Authority, trusting: ssl.SSLContext, is_tls: bool
):
    """TLS with the receiver goes inside that."""
    receiver_tls = authority.server_context("127.0.0.1") if is_tls else None
    async with (
        ConnectProxy(tls=authority.server_context("127.0.0.1")) as proxy,
        Receiver(status(body=b"x" * 10_000), tls=receiver_tls) as receiver,
    ):
        client = make_client(proxy=proxy.url, tls=trusting)
        assert (await post(client, receiver)).excerpt == b"x" * 256
        assert (await post(client, receiver)).ok
        assert proxy.asked == [place(receiver)]


async def test_a_proxy_that_nobody_vouches_for_is_told_nothing(
    make_client: MakeClient, authority: Authority, trusting: ssl.SSLContext
):
    async with (
        ConnectProxy(tls=authority.server_context("other.example")) as proxy,
        Receiver() as receiver,
    ):
        client = make_client(proxy=proxy.url.replace("//", "//me:secret@"), tls=trusting)
        outcome = await post(client, receiver)
    assert outcome.failure is Failure.PROXY
    assert (proxy.heads, receiver.requests) == ([], [])


async def test_a_tunnel_is_kept_and_used_again(make_client: MakeClient, proxy: ConnectProxy):
    client = make_client(proxy=proxy.url)
    async with Receiver() as receiver, Receiver() as other:
        for _ in range(3):
            assert (await post(client, receiver)).ok
        assert (await post(client, other)).ok
        assert (await post(client, receiver)).ok
        assert proxy.asked == [place(receiver), place(other)]
        assert (client.stats.opened_total, client.stats.reused_total) == (2, 3)


async def test_a_tunnel_that_was_cut_while_idle_is_made_anew(
    make_client: MakeClient, proxy: ConnectProxy
):
    client = make_client(proxy=proxy.url)
    async with Receiver() as receiver:
        assert (await post(client, receiver)).ok
        proxy.cut()
        assert (await post(client, receiver)).ok
    assert len(proxy.asked) == 2


async def test_a_tunnel_that_is_cut_under_a_request_is_a_reset(
    make_client: MakeClient, proxy: ConnectProxy
):
    client = make_client(proxy=proxy.url)
    async with Receiver(hang()) as receiver:
        sent = asyncio.create_task(post(client, receiver))
        await wait_until(lambda: receiver.requests)
        proxy.cut()
        assert (await sent).failure is Failure.RESET


async def test_user_and_password_are_sent_to_the_proxy_and_to_nobody_else(
    make_client: MakeClient,
):
    async with ConnectProxy(login="me:p@ss") as proxy, Receiver() as receiver:
        client = make_client(proxy=proxy.url.replace("//", "//me:p%40ss@"))
        assert (await post(client, receiver)).ok
    assert proxy.heads[0].count(b"proxy-authorization: Basic ") == 1
    assert "proxy-authorization" not in receiver.requests[0].headers


async def test_an_interim_answer_to_connect_is_stepped_over(make_client: MakeClient):
    opened = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Soon\r\nlink: x\r\n\r\n" + OPENED
    async with ConnectProxy(opened=opened) as proxy, Receiver() as receiver:
        assert (await post(make_client(proxy=proxy.url), receiver)).ok


async def test_what_a_2xx_says_of_a_body_means_nothing(make_client: MakeClient):
    opened = b"HTTP/1.1 204 Fine\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"
    async with ConnectProxy(opened=opened) as proxy, Receiver() as receiver:
        assert (await post(make_client(proxy=proxy.url), receiver)).ok


async def test_the_next_address_is_tried_when_the_proxy_cannot_reach_one(
    make_client: MakeClient, proxy: ConnectProxy, names: Names
):
    client = make_client(proxy=proxy.url, resolve=names.resolve)
    async with Receiver() as receiver:
        lead(proxy, PUBLIC)
        proxy.does_for[f"[{SIX}]:{receiver.port}"] = "502"
        assert (await post(client, f"http://two.example:{receiver.port}/")).ok
    assert proxy.asked == [f"[{SIX}]:{receiver.port}", f"{PUBLIC}:{receiver.port}"]


async def test_an_address_of_which_the_proxy_says_nothing_gets_its_share_of_the_time(
    make_client: MakeClient, proxy: ConnectProxy, names: Names
):
    client = make_client(proxy=proxy.url, resolve=names.resolve, deadline_s=1.0)
    async with Receiver() as receiver:
        lead(proxy, PUBLIC)
        proxy.does_for[f"[{SIX}]:{receiver.port}"] = HANG
        outcome = await post(client, f"http://two.example:{receiver.port}/")
    assert outcome.ok
    assert 400 < outcome.duration_ms < 1_000


# What goes wrong


async def test_a_proxy_that_refuses_connections_is_to_blame(make_client: MakeClient):
    with refusing_port() as port:
        async with Receiver() as receiver:
            client = make_client(proxy=f"http://127.0.0.1:{port}")
            outcome = await post(client, receiver)
    assert (outcome.status, outcome.failure) == (0, Failure.PROXY)
    assert outcome.excerpt == b"the egress proxy cannot be reached"
    assert receiver.connections == 0


async def test_a_proxy_without_an_address_is_to_blame(make_client: MakeClient, names: Names):
    async with Receiver() as receiver:
        client = make_client(proxy="http://no.such.proxy:3128", resolve=names.resolve)
        assert (await post(client, receiver)).failure is Failure.PROXY
    assert receiver.connections == 0


async def test_a_proxy_that_wants_other_credentials_is_to_blame(make_client: MakeClient):
    async with ConnectProxy(login="me:right") as proxy, Receiver() as receiver:
        client = make_client(proxy=proxy.url.replace("//", "//me:wrong@"))
        outcome = await post(client, receiver)
    assert outcome.failure is Failure.PROXY
    assert outcome.excerpt == b"the egress proxy asks for other credentials (407)"
    assert (len(proxy.asked), receiver.connections) == (1, 0)


async def test_a_proxy_that_never_says_anything_at_all_is_to_blame(
    make_client: MakeClient, authority: Authority, trusting: ssl.SSLContext
):
    tls = authority.server_context("127.0.0.1")
    async with ConnectProxy(tls=tls, does=DEAF) as proxy, Receiver() as receiver:
        client = make_client(proxy=proxy.url, tls=trusting, deadline_s=0.3)
        started = time.monotonic()
        assert (await post(client, receiver)).failure is Failure.PROXY
    assert time.monotonic() - started < 4


REFUSALS = [name for name in ANSWERS if name != "407"]


@pytest.mark.parametrize("does", [*REFUSALS, HANG])
async def test_a_tunnel_that_is_not_made_is_told_apart(
    make_client: MakeClient, proxy: ConnectProxy, does: str
):
    client = make_client(proxy=proxy.url, deadline_s=0.5)
    proxy.does = does
    async with Receiver() as receiver:
        outcome = await post(client, receiver)
        assert (outcome.status, outcome.failure) == (0, Failure.TUNNEL)
        if does[:3].isdigit():
            assert outcome.excerpt == f"the egress proxy answered {does[:3]}".encode()
        proxy.does = ""
        assert (await post(client, receiver)).ok
    assert client.stats.failures[Failure.TUNNEL] == 1


async def test_a_receiver_that_nobody_listens_at_is_a_tunnel_that_is_not_made(
    make_client: MakeClient, proxy: ConnectProxy
):
    with refusing_port() as port:
        outcome = await post(make_client(proxy=proxy.url), f"http://127.0.0.1:{port}/")
    assert outcome.failure is Failure.TUNNEL


async def test_a_receiver_that_hangs_behind_a_tunnel_is_a_timeout(
    make_client: MakeClient, proxy: ConnectProxy, trusting: ssl.SSLContext
):
    client = make_client(proxy=proxy.url, tls=trusting, deadline_s=0.3)
    async with Receiver(hang(), silence()) as receiver:
        assert (await post(client, receiver)).failure is Failure.TIMEOUT
        url = receiver.url.replace("http:", "https:")
        assert (await post(client, url)).failure is Failure.TIMEOUT  # in its TLS


async def test_a_receiver_that_speaks_first_does_not_speak_http(
    make_client: MakeClient, proxy: ConnectProxy, trusting: ssl.SSLContext
):
    client = make_client(proxy=proxy.url, tls=trusting)
    async with Receiver(*[banner(b"220 smtp.example\r\n")] * 2) as receiver:
        assert (await post(client, receiver)).failure in (Failure.PROTOCOL, Failure.RESET)
        url = receiver.url.replace("http:", "https:")
        assert (await post(client, url)).failure is Failure.TLS
    proxy.opened = OPENED + b"220 smtp.example\r\n"
    async with Receiver() as receiver:
        assert (await post(client, receiver)).failure is Failure.PROTOCOL


async def test_a_receiver_that_cuts_its_tls_is_a_failure_of_tls(
    make_client: MakeClient, proxy: ConnectProxy, trusting: ssl.SSLContext
):
    client = make_client(proxy=proxy.url, tls=trusting)
    async with Receiver(reset_before_request()) as receiver:
        url = receiver.url.replace("http:", "https:")
        assert (await post(client, url)).failure is Failure.TLS


async def test_a_request_that_is_cancelled_leaves_no_connection_to_the_proxy(
    make_client: MakeClient, proxy: ConnectProxy
):
    client: Client = make_client(proxy=proxy.url)
    proxy.does = HANG
    async with Receiver() as receiver:
        sent = asyncio.create_task(post(client, receiver))
        await wait_until(lambda: proxy.asked)
        sent.cancel()
        await asyncio.wait([sent])
        await wait_until(lambda: not proxy.open)
    assert client.stats.open == 0


# Who resolves, who judges, who connects


@pytest.mark.parametrize(
    "host", ["inside.example", "10.0.0.7", "127.1", "[::ffff:10.0.0.1]", "localhost"]
)
async def test_the_proxy_is_not_asked_for_what_the_guard_forbids(
    make_client: MakeClient, proxy: ConnectProxy, names: Names, host: str
):
    """The proxy's own address is one of those, and is exempt."""
    client = make_client(proxy=proxy.url, resolve=names.resolve, allow=())
    assert (await post(client, f"http://{host}:9000/")).failure is Failure.BLOCKED
    assert proxy.connections == 0


async def test_a_proxy_that_resolves_is_given_the_name(
    make_client: MakeClient, proxy: ConnectProxy, names: Names
):
    client = make_client(proxy=proxy.url, resolve=names.resolve, resolves=False, allow=())
    async with Receiver() as receiver:
        lead(proxy, "only.there")
        assert (await post(client, f"http://only.there:{receiver.port}/")).ok
    assert names.asked == []
    assert proxy.asked == [f"only.there:{receiver.port}"]
    for host in ("10.0.0.7", "127.1", "[::1]", "localhost", "a.localhost."):
        assert (await post(client, f"http://{host}/")).failure is Failure.BLOCKED
    assert len(proxy.asked) == 1


WHERE = [
    "http://127.0.0.1:{port}/",
    "https://127.0.0.1:{port}/",
    "http://hooks.example:{port}/",
    "http://two.example:{port}/",
    f"http://[{SIX}]:{{port}}/",
]


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    """A proxy whose own connections are not among those that this process begins."""
    routes = [f"--route={host}=127.0.0.1" for host in (PUBLIC, SIX)]
    with proxy_process(tmp_path_factory.mktemp("proxy"), *routes) as process:
        yield process


@pytest.mark.parametrize("does", ["", *ANSWERS, HANG])
async def test_whatever_becomes_of_the_proxy_nothing_else_is_connected_to(
    make_client: MakeClient,
    names: Names,
    trusting: ssl.SSLContext,
    elsewhere: ProxyProcess,
    does: str,
):
    options = {"resolve": names.resolve, "tls": trusting, "deadline_s": 0.5}
    client = make_client(proxy=elsewhere.url(does), **options)
    _connected.clear()
    async with Receiver() as receiver:
        urls = [where.format(port=receiver.port) for where in WHERE]
        outcomes = await asyncio.gather(*(post(client, url) for url in urls))
        reached = receiver.connections
    assert [outcome.ok for outcome in outcomes] == [not does and "https" not in url for url in urls]
    assert reached == (0 if does else len(urls))
    assert len(_connected) >= len(urls)
    assert {to[:2] for to in _connected} == {("127.0.0.1", elsewhere.port)}


async def test_without_a_proxy_that_listens_nothing_is_connected_to_either(
    make_client: MakeClient, names: Names
):
    with refusing_port() as port:
        client = make_client(proxy=f"http://127.0.0.1:{port}", resolve=names.resolve)
        _connected.clear()
        async with Receiver() as receiver:
            for where in WHERE:
                outcome = await post(client, where.format(port=receiver.port))
                assert outcome.failure is Failure.PROXY
            assert receiver.connections == 0
    assert {to[:2] for to in _connected} == {("127.0.0.1", port)}
