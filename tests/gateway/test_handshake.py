"""From a connection to a socket, or to an answer that says why there is none."""

import asyncio
import json
import socket
from contextlib import AsyncExitStack
from ipaddress import ip_network
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from app.domain.client import Addresses
from app.gateway import server
from app.gateway.door import Door, Operations, Rules
from app.gateway.handshake import HEAD_BYTES_MAX, Handshake
from app.gateway.limits import Limits
from app.tokens import TokenVerifier, make_token
from tests.gateway.frames import read_frames, text
from tests.gateway.gate import SECRET, Gate, running, token_of
from tests.gateway.rig import Rig
from tests.wait import wait_until

LOOPS = ("uvloop", "asyncio")

UPGRADE = {
    "Host": "gateway",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def request(
    target: str = "", *, method: str = "GET", version: str = "1.1", **changes: str | None
) -> str:
    """An upgrade request; `changes` are headers, `Sec_WebSocket_Key` for Sec-WebSocket-Key."""
    headers = UPGRADE | {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [f"{name}: {value}\r\n" for name, value in headers.items() if value is not None]
    target = target or f"/v1/socket?token={token_of('bob')}"
    return f"{method} {target} HTTP/{version}\r\n{''.join(lines)}\r\n"


def read_answer(raw: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return int(status.split()[1]), headers, body


async def refusal(gate: Gate, said: str | bytes) -> dict[str, Any]:
    """The problem a request is answered with."""
    status, headers, body = read_answer(await gate.ask(said))
    assert headers["content-type"] == "application/problem+json"
    assert int(headers["content-length"]) == len(body)
    told = json.loads(body)
    assert told["status"] == status
    assert gate.stats.requests[status] == 1
    assert gate.stats.sockets_open == 0
    return told | {"headers": headers}


async def test_a_request_in_one_piece_is_answered_with_101_and_then_the_hello():
    async with running() as gate, gate.raw() as (reader, writer):
        writer.write(request().encode())
        status, headers, _ = read_answer(await reader.readuntil(b"\r\n\r\n"))
        assert status == 101
        assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert "sec-websocket-protocol" not in headers
        assert "sec-websocket-extensions" not in headers
        (frame,) = read_frames(await reader.read(1_000))
        assert json.loads(bytes(frame.data))["type"] == "hello"
        assert gate.stats.sockets_open == 1
        assert gate.stats.handshakes_open == 0


async def test_a_request_may_come_byte_by_byte():
    async with running() as gate, gate.raw() as (reader, writer):
        for byte in request().encode():
            writer.write(bytes((byte,)))
            await writer.drain()
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")


async def test_what_comes_behind_the_head_belongs_to_the_socket_and_is_answered_after_the_101():
    async with running() as gate, gate.raw() as (reader, writer):
        writer.write(request().encode() + text("no message"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        (close,) = read_frames(await reader.read(1_000))
        assert bytes(close.data)[:2] == (4500).to_bytes(2, "big")


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["moments.v1.json"], "moments.v1.json"),
        (["moments.v1.msgpack"], "moments.v1.msgpack"),
        (["soap", "moments.v1.msgpack", "moments.v1.json"], "moments.v1.msgpack"),
        ([], None),
    ],
)
async def test_the_first_subprotocol_that_is_known_is_spoken(
    offered: list[str], chosen: str | None
):
    async with running() as gate, gate.greeted("bob", subprotocols=offered) as socket:
        assert socket.raw.subprotocol == chosen
        assert socket.hello["user"] == "bob"


async def test_a_token_may_come_as_a_header():
    headers = {"Authorization": f"bearer {token_of('bob')}"}
    async with running() as gate, gate.greeted(None, headers=headers) as socket:
        assert socket.hello["user"] == "bob"


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("", "there is none"),
        ("?token=", "token does not hold"),
        ("?token=abc", "token does not hold"),
        (
            f"?token={token_of('bob')[:-20]}{'A' * 20}",
            "token does not hold: the signature is not ours",
        ),
        (f"?token={make_token(SECRET, 'bob', ttl_s=-60)}", "token does not hold: expired"),
        (f"?token={make_token(SECRET[::-1], 'bob', ttl_s=3_600)}", "the signature is not ours"),
        (f"?token={make_token(SECRET, 'bob bob', ttl_s=3_600)}", "`sub` is not a user id"),
        (f"?token={'x' * 5_000}", "longer than 4096"),
    ],
    ids=lambda value: value[:30] if " " in value else "",
)
async def test_without_a_token_that_holds_there_is_no_socket(query: str, detail: str):
    async with running(rules=Rules(token_by_message=False)) as gate:
        told = await refusal(gate, request(f"/v1/socket{query}"))
        assert told["status"] == 401
        assert detail in told["detail"]
        assert told["headers"]["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("after=-1", "`after`"),
        ("ack=perhaps", "`ack`"),
        ("before=7", "unknown parameter 'before'"),
    ],
)
async def test_parameters_that_cannot_be_meant_are_refused(query: str, detail: str):
    async with running() as gate:
        told = await refusal(gate, request(f"/v1/socket?{query}"))
        assert told["status"] == 400
        assert detail in told["detail"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(request(method="POST"), 405, id="another method"),
        pytest.param(request(version="1.0"), 505, id="HTTP 1.0"),
        pytest.param(request(Upgrade=None), 426, id="no upgrade"),
        pytest.param(request(Upgrade="h2c"), 426, id="another upgrade"),
        pytest.param(request(Connection="keep-alive"), 426, id="another connection"),
        pytest.param(request(Sec_WebSocket_Key=None), 400, id="no key"),
        pytest.param(request(Sec_WebSocket_Key="short"), 400, id="a short key"),
        pytest.param(request(Sec_WebSocket_Version="8"), 400, id="another version"),
        pytest.param(request(Sec_WebSocket_Protocol="soap, wamp"), 400, id="other subprotocols"),
        pytest.param(request(Content_Length="5"), 400, id="a body"),
        pytest.param(request(Transfer_Encoding="chunked"), 400, id="a body in chunks"),
        pytest.param(request(Origin="http://x\x00y"), 400, id="a zero byte"),
        pytest.param("GET /v1/socket HTTP/3\r\n\r\n", 400, id="HTTP 3"),
        pytest.param("hello\r\n\r\n", 400, id="one word"),
        pytest.param("\r\n\r\n", 400, id="nothing"),
        pytest.param(request("/v1/söcket"), 400, id="a path that is not ASCII"),
        pytest.param(request(**{f"X-{n}": "1" for n in range(130)}), 431, id="130 headers"),
        pytest.param(request(Cookie="x" * 9_000), 400, id="a long header"),
        pytest.param(request("/v1/sockets"), 404, id="another path"),
        pytest.param(request("/"), 404, id="no path"),
        pytest.param(request("http://elsewhere/v1/socket"), 404, id="a whole url"),
    ],
)
async def test_what_is_no_handshake_is_answered_with_what_is_wrong(sent: str, status: int):
    async with running() as gate:
        told = await refusal(gate, sent)
        assert told["status"] == status
        assert told["detail"]


async def test_who_may_not_speak_a_subprotocol_is_told_which_there_are():
    async with running() as gate:
        told = await refusal(gate, request(Sec_WebSocket_Protocol="soap"))
        assert "moments.v1.json, moments.v1.msgpack" in told["detail"]


async def test_a_head_has_a_bound():
    async with running() as gate:
        many = "".join(f"X-{number}: {'x' * 1_000}\r\n" for number in range(17))
        told = await refusal(gate, f"GET /v1/socket HTTP/1.1\r\n{many}")
        assert told["status"] == 431
        assert str(HEAD_BYTES_MAX) in told["detail"]
        assert gate.stats.requests == {431: 1}


async def test_so_many_headers_are_read_and_one_more_is_not():
    async with running(limits=Limits(headers_max=20, goodbye_spread_s=0)) as gate:
        more = {f"X_{number}": "y" for number in range(20 - len(UPGRADE))}
        async with gate.raw() as (reader, writer):
            writer.write(request(**more).encode())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        await wait_until(lambda: gate.stats.sockets_open == 0)
        told = await refusal(gate, request(**more, X_more="y"))
        assert (told["status"], told["detail"]) == (431, "The head has more than 20 headers.")
        assert gate.stats.requests == {431: 1}


async def test_what_is_sent_after_the_answer_is_not_looked_at():
    async with running() as gate, gate.raw() as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 404 ")
        writer.write(request().encode() * 50)
        writer.write_eof()
        await wait_until(lambda: gate.stats.handshakes_open == 0)
        assert gate.stats.requests == {404: 1}


async def test_a_handshake_has_to_be_done_in_time(caplog: pytest.LogCaptureFixture):
    async with running(limits=Limits(hello_timeout_s=0.3)) as gate, gate.raw() as (reader, writer):
        writer.write(b"GET /v1/socket HTTP/1.1\r\n")
        assert await reader.read() == b""
        await wait_until(lambda: gate.stats.handshakes_open == 0)
        assert gate.stats.handshakes_timed_out == 1
        assert "hello_timeout_s" in [getattr(line, "limit", "") for line in caplog.records]


async def test_a_socket_outlives_the_time_for_its_handshake():
    async with running(limits=Limits(hello_timeout_s=0.6)) as gate, gate.greeted("bob") as socket:
        now = gate.gateway._now
        until = now() + 0.8
        await wait_until(lambda: now() > until)
        await (await socket.raw.ping())
        assert gate.stats.handshakes_timed_out == 0


async def test_one_who_does_not_read_their_answer_is_cut_in_time():
    async with running(limits=Limits(hello_timeout_s=0.3)) as gate, gate.raw() as (_, writer):
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await wait_until(lambda: gate.stats.requests[404])
        await wait_until(lambda: gate.stats.handshakes_open == 0)
        assert gate.stats.handshakes_timed_out == 0


async def test_only_so_many_handshakes_may_be_under_way(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(server, "HANDSHAKES_MAX", 2)
    async with running() as gate, gate.raw(), gate.raw() as (_, second):
        await wait_until(lambda: gate.stats.handshakes_open == 2)
        async with gate.raw() as (reader, _):
            assert await reader.read() == b""
        assert gate.stats.connections_refused == 1
        assert [line.limit for line in caplog.records] == ["handshakes"]
        second.transport.abort()
        await wait_until(lambda: gate.stats.handshakes_open == 1)
        async with gate.greeted("bob"):
            assert gate.stats.connections_refused == 1


# Limits of sockets.


async def test_a_gateway_holds_only_so_many_sockets(caplog: pytest.LogCaptureFixture):
    async with running(limits=Limits(sockets_max=1, goodbye_spread_s=0)) as gate:
        async with gate.greeted("bob"):
            with pytest.raises(InvalidStatus) as refused:
                await gate.socket("eve").__aenter__()
            response = refused.value.response
            assert response.status_code == 503
            assert 2 <= int(response.headers["Retry-After"]) <= 10
            assert gate.stats.sockets_refused == {"sockets_max": 1}
            assert [line.limit for line in caplog.records] == ["sockets_max"]
        await wait_until(lambda: gate.stats.sockets_open == 0)
        async with gate.greeted("eve"):
            assert gate.stats.sockets_accepted == 2


async def test_a_user_may_have_only_so_many_sockets(caplog: pytest.LogCaptureFixture):
    limits = Limits(sockets_per_user_max=2, goodbye_spread_s=0)
    async with running(limits=limits) as gate, gate.greeted("bob"), gate.greeted("bob"):
        with pytest.raises(InvalidStatus) as refused:
            await gate.socket("bob").__aenter__()
        assert refused.value.response.status_code == 503
        assert gate.stats.sockets_refused == {"sockets_per_user_max": 1}
        assert [line.limit for line in caplog.records] == ["sockets_per_user_max"]
        async with gate.greeted("eve"):
            assert gate.stats.sockets_open == 3


PROXIED = Limits(
    connections_per_address_max=2, trusted_proxies=(ip_network("127.0.0.0/8"),), goodbye_spread_s=0
)


async def test_an_address_may_have_only_so_many_connections(caplog: pytest.LogCaptureFixture):
    limits = Limits(connections_per_address_max=2, goodbye_spread_s=0)
    async with running(limits=limits) as gate, gate.greeted("bob") as kept:
        async with gate.raw() as (waiting, _):  # in its handshake: it counts as well
            async with gate.raw() as (reader, _):
                status, headers, body = read_answer(await reader.read())
            assert status == 503
            assert 2 <= int(headers["retry-after"]) <= 10
            assert json.loads(body)["detail"] == "127.0.0.1 has 2 connections open here already."
            assert gate.stats.sockets_refused == {"connections_per_address_max": 1}
            assert [(line.limit, line.address) for line in caplog.records] == [
                ("connections_per_address_max", "127.0.0.1")
            ]
            await wait_until(lambda: gate.stats.handshakes_open == 1)
            assert not waiting.at_eof()
        await wait_until(lambda: gate.stats.handshakes_open == 0)
        async with gate.greeted("eve"):
            await (await kept.raw.ping())
            assert gate.stats.sockets_refused.total() == 1
        await wait_until(lambda: gate.stats.sockets_open == 1)
        assert len(gate.gateway._addresses) == 1
    assert len(gate.gateway._addresses) == 0


async def test_behind_a_proxy_each_client_has_its_own_number_and_the_proxy_any():
    async with running(limits=PROXIED) as gate, AsyncExitStack() as open_:
        for user in ("ann", "bob", "cyd", "dan"):
            client = "192.0.2.7" if user in ("ann", "bob") else "192.0.2.8"
            headers = {"X-Forwarded-For": f"6.6.6.6, {client}"}
            await open_.enter_async_context(gate.greeted(user, headers=headers))
        told = await refusal_beside(gate, request(X_Forwarded_For="192.0.2.7"))
        assert told["detail"] == "192.0.2.7 has 2 connections open here already."
        assert gate.stats.sockets_open == 4
        for _ in range(3):  # those that check on the gateway are no clients
            assert read_answer(await gate.ask(get("/healthz")))[0] == 200
        await open_.enter_async_context(
            gate.greeted("eve", headers={"X-Forwarded-For": "192.0.2.9"})
        )
    assert len(gate.gateway._addresses) == 0


async def refusal_beside(gate: Gate, said: str) -> dict[str, Any]:
    """The problem a request is answered with, while there are sockets."""
    status, _, body = read_answer(await gate.ask(said))
    assert status == 503
    return json.loads(body)


async def test_who_is_no_proxy_of_ours_cannot_say_whom_they_speak_for():
    limits = Limits(connections_per_address_max=1, goodbye_spread_s=0)
    headers = {"X-Forwarded-For": "192.0.2.7"}
    async with running(limits=limits) as gate, gate.greeted("bob", headers=headers):
        told = await refusal_beside(gate, request(X_Forwarded_For="192.0.2.8"))
        assert told["detail"].startswith("127.0.0.1 has 1 connections")


# Operations.


def get(path: str, method: str = "GET") -> str:
    return f"{method} {path} HTTP/1.1\r\nHost: gateway\r\n\r\n"


async def test_health_and_readiness_and_metrics_are_answered():
    reason: str | None = None
    operations = Operations(unready=lambda: reason, metrics=lambda: b"moments_acks_total 0.0\n")
    async with running(operations=operations) as gate:
        assert read_answer(await gate.ask(get("/healthz")))[::2] == (200, b"ok\n")
        assert read_answer(await gate.ask(get("/readyz")))[::2] == (200, b"ready\n")
        status, headers, body = read_answer(await gate.ask(get("/metrics?a=b")))
        assert (status, body) == (200, b"moments_acks_total 0.0\n")
        assert headers["content-type"].startswith("text/plain; version=0.0.4")
        reason = "the store is away"
        status, _, body = read_answer(await gate.ask(get("/readyz")))
        assert (status, json.loads(body)["detail"]) == (503, "Not ready: the store is away.")
        assert gate.stats.requests == {200: 3, 503: 1}


async def test_head_is_get_without_the_body():
    async with running() as gate:
        status, headers, body = read_answer(await gate.ask(get("/healthz", "HEAD")))
        assert (status, headers["content-length"], body) == (200, "3", b"")


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS"])
async def test_operations_are_only_asked_for(method: str):
    async with running() as gate:
        told = await refusal(gate, get("/metrics", method))
        assert (told["status"], told["headers"]["allow"]) == (405, "GET, HEAD")


async def test_a_gateway_that_leaves_takes_no_more_sockets_and_says_that_it_is_not_ready():
    async with running() as gate:
        gate.gateway._door.close()
        told = await refusal(gate, request())
        assert told["status"] == 503
        assert "shutting down" in told["detail"]
        assert gate.stats.sockets_refused == {"shutdown": 1}
        assert read_answer(await gate.ask(get("/healthz")))[0] == 200
        status, _, body = read_answer(await gate.ask(get("/readyz")))
        assert (status, json.loads(body)["detail"]) == (503, "Not ready: shutting down.")


async def test_a_deadline_that_comes_just_after_the_handshake_does_no_harm():
    """The wheel may have taken it out already when the request was answered."""
    rig = Rig()
    door = Door(
        *(rig.limits, rig.stats, rig.context.notices, TokenVerifier(SECRET).verify),
        Operations(),
        sockets_of=lambda user: 0,
    )
    entered: list[asyncio.Transport] = []
    late: list[bool] = []
    handshake = Handshake(
        door,
        rig.wheel,
        rig.now + 5,
        Addresses(0),
        headers_max=100,
        enter=lambda transport, admission, address, rest: entered.append(transport),
        late=lambda: late.append(True),
        left=lambda: None,
    )
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    ours.setblocking(False)
    await loop.connect_accepted_socket(lambda: handshake, ours)
    with theirs:
        theirs.sendall(request().encode())
        await wait_until(lambda: entered)
        handshake.check(rig.now + 5)
        assert not entered[0].is_closing()
        assert late == []
        entered[0].abort()
