"""No request comes to an address that webhooks must not reach: not at a ping, not for a post, not
by a redirect, in whatever spelling it was saved. A listener on this machine would notice, and so
would a look at every connection that this process begins."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from app import resolver
from app.commands.api import make_sealer
from app.settings import Settings
from app.store.client import Store
from app.store.endpoints import Endpoints
from tests.flows.service import SETTINGS, Service, serve
from tests.receivers import Receiver, redirect
from tests.wait import wait_until

# First, some middle and last address of each range that is forbidden.
RANGES_TEXT = """
    0.0.0.0 0.0.0.1 0.255.255.255      10.0.0.0 10.1.2.3 10.255.255.255
    100.64.0.0 100.100.0.1 100.127.255.255      127.0.0.0 127.0.0.1 127.0.0.2 127.255.255.255
    169.254.0.0 169.254.169.254 169.254.255.255      172.16.0.0 172.20.0.1 172.31.255.255
    192.0.0.0 192.0.0.192 192.0.0.255      192.0.2.0 192.0.2.1 192.0.2.255
    192.88.99.0 192.88.99.1 192.88.99.255      192.168.0.0 192.168.1.1 192.168.255.255
    198.18.0.0 198.18.5.5 198.19.255.255      198.51.100.0 198.51.100.1 198.51.100.255
    203.0.113.0 203.0.113.1 203.0.113.255      224.0.0.0 224.0.0.1 239.255.255.255
    240.0.0.0 250.0.0.1 255.255.255.255
    [::] [::1] [::127.0.0.1] [::7f00:1] [ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]
    [::ffff:0.0.0.0] [::ffff:127.0.0.1] [::ffff:7f00:1] [::ffff:10.0.0.1] [::ffff:169.254.169.254]
    [64:ff9b::7f00:1] [64:ff9b::127.0.0.1] [64:ff9b::10.0.0.1] [64:ff9b::a9fe:a9fe]
    [64:ff9b:1::] [64:ff9b:1::1] [64:ff9b:1:ffff:ffff:ffff:ffff:ffff]      [100::] [100::1]
    [100::ffff:ffff:ffff:ffff]      [2001::] [2001:0:7f00:1::1] [2001:20::1] [2001:1ff:ffff::1]
    [2001:db8::] [2001:db8::1] [2001:db8:ffff::1]      [2002::] [2002:7f00:1::] [2002:ffff::1]
    [3fff::] [3fff::1] [3fff:fff:ffff::1]      [5f00::] [5f00::1] [5f00:ffff::1]
    [fc00::] [fd00:ec2::254] [fdff:ffff::1]      [fe80::] [fe80::1] [febf:ffff::1]
    [fec0::] [fec0::1] [feff:ffff::1]      [ff00::] [ff02::1] [ffff:ffff::1]
"""
# Other ways to write loopback and what is beside it.
SPELLINGS_TEXT = """
    127.1 127.0.1 2130706433 0x7f000001 0x7f.1 0X7F.0.0.1 0177.0.0.1 0177.1 017700000001
    127.0.0.1. 000177.0.0.01 0 0x0 10.1 167772161 0xa9fea9fe 2852039166
    [0:0:0:0:0:0:0:1] [0000::0001] [::FFFF:127.0.0.1] [0:0:0:0:0:ffff:7f00:1]
    \uff11\uff12\uff17.0.0.1 127\u30020\u30020\u30021 \u2460\u2461\u2466.\u24ea.\u24ea.\u2460
"""
# Names, with what they resolve to in these tests.
NAMES = {
    "localhost": ["127.0.0.1", "::1"],
    "inside.example": ["10.0.0.7"],
    "half.example": ["93.184.216.34", "127.0.0.1"],
    "other-half.example": ["127.0.0.1", "93.184.216.34"],
    "mapped.example": ["93.184.216.34", "::ffff:127.0.0.1"],
    "six.example": ["2606:4700::1", "::1"],
    "translated.example": ["64:ff9b::7f00:1"],
}
HOSTS = [
    *RANGES_TEXT.split(),
    *SPELLINGS_TEXT.split(),
    *NAMES,
    "localhost.",
    "LOCALHOST",
    "Half.Example",
]
# What no setting allows.
MALFORMED = [
    "http://user@127.0.0.1:{port}/",
    "http://good:word@127.0.0.1:{port}/",
    "http://93.184.216.34@127.0.0.1:{port}/",
    "http://93.184.216.34:{port}@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}/#fragment",
    "http://93.184.216.34#@127.0.0.1:{port}/",
    "http://93.184.216.34\\@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\/",
    "http:\\\\127.0.0.1:{port}/",
    "http://127.0.0.1:{port}/\r\nhost: other",
    "http://127.0.0.1:{port}/\n",
    "http://127.0.0.1:{port}/\t",
    "http://127.0.0.1:{port}/\x00",
    "http://127.0.0.1\r:{port}/",
    " http://127.0.0.1:{port}/",
    "http://127.0.0.1 :{port}/",
    "http://[fe80::1%25eth0]:{port}/",
    "http://[::1%lo]:{port}/",
    "http://[127.0.0.1]:{port}/",
    "http://[::1:{port}/",
    "http://127.0.0.1.1:{port}/",
    "http://256.0.0.1:{port}/",
    "http://0x7f000001.1.1.1.1:{port}/",
    "http://4294967296:{port}/",
    "http://:{port}/",
    "http:///127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    "127.0.0.1:{port}",
    "ftp://127.0.0.1:{port}/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/_x",
    "ws://127.0.0.1:{port}/",
    "unix:///tmp/socket",
    "javascript:alert(1)",
    "http+unix://127.0.0.1:{port}/",
    "http://127.0.0.1:0/",
    "http://127.0.0.1:65536/",
    "http://127.0.0.1:{port}x/",
]
PORTS = [1, 22, 23, 25, 53, 79, 81, 110, 143, 389, 442, 444, 445, 587, 631, 993, 1023]
EVERYTHING = {"allow_cidrs": "0.0.0.0/0,::/0", "allow_ports": ",".join(map(str, PORTS))}
NOTHING = {"allow_cidrs": "", "allow_ports": ""}
MANY = {"endpoints_max": 500, "breaker_failures": 1_000, "retry_schedule_s": "0.05"}
SOME = 16  # calls at once

_connected: list[Any] = []  # addresses of the connections that this process has begun


def _note_connection(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        _connected.append(args[1])


class Listener:
    """Listens on every address of this machine, and knows whether anybody has been there."""

    def __init__(self, server: asyncio.Server) -> None:
        self.port: int = server.sockets[0].getsockname()[1]
        self.visits = 0
        _connected.clear()

    def visit(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        writer.close()

    @property
    def was_sought(self) -> list[Any]:
        """Where a connection was begun to its port, or to one that is closed to webhooks."""
        ports = {self.port, *PORTS}
        return [to for to in _connected if isinstance(to, tuple) and to[1] in ports]

    def url_of(self, host: str) -> str:
        return f"http://{host}:{self.port}/hook"

    def urls(self) -> list[str]:
        """Every address in every spelling, and ports that are closed to webhooks."""
        hosts = [self.url_of(host) for host in HOSTS]
        return hosts + [f"http://127.0.0.1:{port}/" for port in PORTS]


@pytest.fixture(scope="session")
def noted_connections() -> None:
    sys.addaudithook(_note_connection)  # for good: it cannot be taken away


@pytest.fixture
async def listener(noted_connections: None) -> AsyncIterator[Listener]:
    sock = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    visits: list[Listener] = []
    server = await asyncio.start_server(lambda *streams: visits[0].visit(*streams), sock=sock)
    visits.append(Listener(server))
    async with server:
        yield visits[0]


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The answers of the system's resolver, which a test may change."""
    answers = {name: list(each) for name, each in NAMES.items()}
    monkeypatch.setattr(resolver, "_getaddrinfo", lambda host: answers[host])
    return answers


async def each(call: Callable[[str], Awaitable[Any]], of: list[str]) -> list[Any]:
    """What the call comes to for each, in their order; some are made at once."""
    results: list[Any] = []
    for first in range(0, len(of), SOME):
        results += await asyncio.gather(*map(call, of[first : first + SOME]))
    return results


async def register_all(service: Service, urls: list[str]) -> dict[str, str]:
    """Ids of new endpoints of bob with their URLs."""
    made = await each(lambda url: service.register("bob", url), urls)
    return {endpoint["id"]: url for endpoint, url in zip(made, urls, strict=True)}


async def ping(service: Service, endpoint: str) -> Any:
    """The outcome, once there is a sender."""

    async def sent() -> Any:
        answer = await service.http.post(f"/v1/endpoints/{endpoint}:ping")
        return answer.json() if answer.is_success else None

    return await wait_until(sent)


def is_refused(answer: httpx.Response) -> bool:
    return answer.status_code == 422 and answer.json()["errors"][0]["field"] == "url"


async def test_it_can_be_neither_saved_nor_changed_to(
    single_store: Store, listener: Listener
) -> None:
    urls = listener.urls() + [url.format(port=listener.port) for url in MALFORMED]
    async with serve(single_store, **NOTHING, **MANY) as service:
        kept = await service.register("bob", "http://93.184.216.34/")
        path = f"/v1/endpoints/{kept['id']}"
        for url in urls:
            made = await service.http.post("/v1/endpoints", json={"user": "bob", "url": url})
            assert is_refused(made), (url, made.text)
            changed = await service.http.patch(path, json={"url": url})
            assert is_refused(changed), (url, changed.text)
        assert (await service.call("GET", f"/endpoints/{kept['id']}"))["url"] == kept["url"]
        assert len((await service.call("GET", "/users/bob/endpoints"))["items"]) == 1
    assert (listener.visits, listener.was_sought) == (0, [])


async def test_no_setting_saves_what_is_no_address(single_store: Store, listener: Listener) -> None:
    async with serve(single_store, **EVERYTHING) as service:
        for url in MALFORMED:
            body = {"user": "bob", "url": url.format(port=listener.port)}
            assert is_refused(await service.http.post("/v1/endpoints", json=body)), url
    assert (listener.visits, listener.was_sought) == (0, [])


async def test_the_listener_notices_whoever_may_come(
    single_store: Store, listener: Listener
) -> None:
    async with serve(single_store, **EVERYTHING, **MANY) as service:
        loopback = ["127.0.0.1", "127.1", "0x7f000001", "[::ffff:7f00:1]", "[::1]", "localhost."]
        endpoints = await register_all(service, [listener.url_of(host) for host in loopback])
        for visits, endpoint in enumerate(endpoints, 1):
            assert (await ping(service, endpoint))["error"] != "blocked"
            assert listener.visits >= visits
    assert len(listener.was_sought) >= len(loopback)


async def test_a_ping_or_a_post_does_not_reach_what_was_saved_when_it_was_allowed(
    single_store: Store, listener: Listener
) -> None:
    async with serve(single_store, **EVERYTHING, **MANY) as service:
        await service.befriend(("alice", "bob"))
        endpoints = await register_all(service, listener.urls())
    async with serve(single_store, **NOTHING, **MANY) as service:
        closed = {id_ for id_, url in endpoints.items() if not url.endswith("/hook")}
        reached = [id_ for id_ in endpoints if id_ not in closed]
        outcomes = await each(lambda id_: ping(service, id_), reached)
        assert {outcome["error"] for outcome in outcomes} == {"blocked"}
        assert {outcome["status"] for outcome in outcomes} == {None}

        post = await service.post("alice")
        items = await wait_until(lambda: all_looked_at(service, post["id"], len(endpoints)), 30)
        by_id = {item["endpoint"]: item for item in items}
        assert {by_id[id_]["last_error"] for id_ in reached} == {"blocked"}
        assert {by_id[id_]["attempts"] for id_ in closed} == {0}
    assert (listener.visits, listener.was_sought) == (0, [])


async def all_looked_at(service: Service, post: str, count: int) -> list[Any] | None:
    """The webhook deliveries of a post, once a sender has tried each of them or put it off."""
    items = (await service.deliveries(post, channel="webhook", limit="200"))["items"]
    seen = [item for item in items if "last_error" in item or "next_attempt_at" in item]
    return items if len(seen) == count else None


async def test_what_is_no_address_is_not_sent_to_even_if_it_stands_in_the_store(
    single_store: Store, listener: Listener
) -> None:
    async with serve(single_store, **EVERYTHING, **MANY) as service:
        await service.befriend(("alice", "bob"))
        endpoints = endpoints_in(single_store)
        for url in MALFORMED:
            await planted(endpoints, url.format(port=listener.port))
        post = await service.post("alice")
        items = await wait_until(lambda: all_looked_at(service, post["id"], len(MALFORMED)), 30)
        assert {(item["state"], item["attempts"]) for item in items} == {("pending", 0)}
    assert (listener.visits, listener.was_sought) == (0, [])


def endpoints_in(store: Store) -> Endpoints:
    sealer = make_sealer(Settings.model_validate(SETTINGS))
    return Endpoints(store, 8, sealer=sealer, endpoints_max=500, changes_max=1_000)


async def planted(endpoints: Endpoints, url: str, *, verify: bool = False) -> None:
    """An endpoint of bob that no call would have made."""
    await endpoints.create(
        user="bob",
        url=url,
        types=("*",),
        method="POST",
        headers={},
        rate_per_s=None,
        retry_schedule_s=None,
        description=None,
        secret="whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        now_ms=1,
        verify=verify,
    )


async def test_a_challenge_does_not_reach_what_stands_in_the_store(
    single_store: Store, listener: Listener
) -> None:
    unlimited = {"challenges_per_host_max": 1_000, "challenges_per_s_max": 10_000}
    async with serve(single_store, **NOTHING, **MANY, **unlimited, verify_schedule_s="") as service:
        endpoints = endpoints_in(single_store)
        for url in [*listener.urls(), *(url.format(port=listener.port) for url in MALFORMED)]:
            await planted(endpoints, url, verify=True)
        reached = len(HOSTS)

        async def challenged() -> list[Any] | None:
            page = await service.call("GET", "/users/bob/endpoints?limit=200")
            found = [one for one in page["items"] if one["verification"]["challenges"]]
            return found if len(found) >= reached else None

        found = await wait_until(challenged, 20)
        assert len(found) == reached  # not closed ports, nor what is no address
        assert {one["verification"]["last_error"] for one in found} == {"blocked"}
        asked = await service.call("POST", f"/endpoints/{found[0]['id']}:verify")
        assert (asked["error"], asked["status"]) == ("blocked", None)
    assert (listener.visits, listener.was_sought) == (0, [])


async def test_a_name_that_is_changed_after_saving_is_not_reached(
    single_store: Store, listener: Listener, names: dict[str, list[str]]
) -> None:
    names["moving.example"] = ["93.184.216.34"]
    async with serve(single_store, **NOTHING) as service:
        await service.befriend(("alice", "bob"))
        endpoint = await service.register("bob", listener.url_of("moving.example"))
        names["moving.example"] = ["127.0.0.1"]
        assert (await ping(service, endpoint["id"]))["error"] == "blocked"
        post = await service.post("alice")
        dead = await service.settled(post["id"], "bob", "dead")
        assert dead["last_error"] == "blocked"
    assert (listener.visits, listener.was_sought) == (0, [])


async def test_the_address_that_was_judged_is_the_one_connected_to(
    single_store: Store, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def rebound(host: str) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) <= 2 else ["127.0.0.2"]  # saved, and judged

    monkeypatch.setattr(resolver, "_getaddrinfo", rebound)
    async with serve(single_store, allow_cidrs="127.0.0.1/32") as service:
        endpoint = await service.register("bob", listener.url_of("rebound.example"))
        await ping(service, endpoint["id"])
        assert {to[0] for to in listener.was_sought} == {"127.0.0.1"}
        assert (await ping(service, endpoint["id"]))["error"] == "blocked"
    assert {to[0] for to in listener.was_sought} == {"127.0.0.1"}


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_leads_nowhere(single_store: Store, listener: Listener, code: int) -> None:
    urls = (
        [u for u in listener.urls() if u.isascii()]
        if code == 302
        else [listener.url_of("127.0.0.1")]
    )
    urls += [f"//127.0.0.1:{listener.port}/", "/elsewhere"]
    async with Receiver() as permitted, serve(single_store, allow_cidrs="127.0.0.0/8") as service:
        endpoint = await service.register("bob", permitted.url)
        for url in urls:
            permitted.default = redirect(url, code)
            outcome = await ping(service, endpoint["id"])
            assert (outcome["status"], outcome["error"]) == (code, "http_3xx")
        assert len(permitted.requests) == len(urls)
    assert (listener.visits, listener.was_sought) == (0, [])
