"""Who may call what at a gateway: every route, with every kind of credential."""

import asyncio
import base64
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.exceptions import InvalidStatus

from app.domain.close_codes import CloseCode
from app.gateway.door import Rules
from tests.credentials import VERIFIER, bad_tokens, good_tokens
from tests.gateway.frames import read_frames
from tests.gateway.gate import Gate, running
from tests.gateway.test_handshake import get, read_answer, request
from tests.wait import wait_until

KEYS = {
    "an API key": "mk_" + "x" * 43,
    "an admin key": "mk_an-admin-key-of-the-settings",
    "a key without its beginning": "x" * 43,
}


async def ask_for_socket(gate: Gate, credential: str | None, way: str) -> tuple[int, Any]:
    """The status of the answer, and whose socket it is, if it is one."""
    query = f"?{urlencode({'token': credential})}" if credential and way == "query" else ""
    bearer = f"Bearer {credential}" if credential and way == "header" else None
    async with gate.raw() as (reader, writer):
        writer.write(request(f"/v1/socket{query}", Authorization=bearer).encode())
        status, _, _ = read_answer(await reader.readuntil(b"\r\n\r\n"))
        if status != 101:
            return status, None
        (hello,) = read_frames(await reader.read(1_000))
        return status, bytes(hello.data)


@pytest.mark.parametrize("way", ["query", "header"])
async def test_a_token_that_holds_opens_its_own_users_socket(way: str):
    async with running(tokens=VERIFIER) as gate:
        for user in ("bob", "mallory"):
            for kind, token in good_tokens(user).items():
                status, hello = await ask_for_socket(gate, token, way)
                assert status == 101, kind
                assert b'"user":"%s"' % user.encode() in hello.replace(b" ", b""), kind
                await wait_until(lambda: gate.stats.sockets_open == 0)


@pytest.mark.parametrize("way", ["query", "header"])
async def test_nothing_else_opens_a_socket_not_even_an_api_key(way: str):
    async with running(tokens=VERIFIER) as gate:
        for kind, credential in {**KEYS, **bad_tokens("bob")}.items():
            assert await ask_for_socket(gate, credential, way) == (401, None), kind
        assert gate.stats.sockets_accepted == 0


@pytest.mark.parametrize("encoding", ["moments.v1.json", "moments.v1.msgpack"])
async def test_the_same_holds_for_the_first_message(encoding: str):
    async with running(tokens=VERIFIER) as gate:
        for kind, token in good_tokens("bob").items():
            async with gate.socket(None, subprotocols=[encoding]) as socket:
                await socket.say(type="token", token=token)
                hello = await socket.next()
                assert (hello["type"], hello["user"]) == ("hello", "bob"), kind
        await wait_until(lambda: gate.stats.sockets_open == 0)
        for kind, credential in {**KEYS, **bad_tokens("bob")}.items():
            async with gate.socket(None, subprotocols=[encoding]) as socket:
                await socket.say(type="token", token=credential)
                code = CloseCode.TOKEN_EXPIRED if kind == "expired" else CloseCode.BAD_TOKEN
                assert await socket.closed() == code, kind
                assert credential not in (socket.raw.close_reason or ""), kind
        assert gate.stats.users_here == 0


@pytest.mark.parametrize("name", ["token", "Authorization", "session"])
async def test_nothing_that_a_browser_adds_by_itself_opens_a_socket(name: str):
    """Else a page of anybody could open the sockets of whoever looks at it."""
    token = good_tokens("bob")["HS256"]
    basic = base64.b64encode(f"bob:{token}".encode()).decode()
    headers = {"Cookie": f"{name}={token}", "Authorization": f"Basic {basic}"}
    async with running(tokens=VERIFIER, rules=Rules(token_by_message=False)) as gate:
        with pytest.raises(InvalidStatus, match="401"):
            await gate.socket(None, headers=headers).__aenter__()
    async with (
        running(tokens=VERIFIER) as gate,
        gate.socket(None, headers=headers, options={"origin": "https://evil.example"}) as socket,
    ):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.raw.recv(), 0.1)
        assert (gate.stats.tokens_awaited, gate.stats.sockets_open) == (1, 0)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *(("/healthz", 200), ("/readyz", 200), ("/metrics", 200)),
        *(("/", 404), ("/v1/posts", 404), ("/v1/users/bob/feed", 404), ("/v1/stats", 404)),
    ],
)
async def test_every_other_route_is_the_same_for_everybody(path: str, status: int):
    async with running(tokens=VERIFIER) as gate:
        credentials = {**KEYS, **good_tokens("bob"), **bad_tokens("bob")}
        for kind, credential in credentials.items():
            head = f"Host: gateway\r\nAuthorization: Bearer {credential}\r\n"
            answer = await gate.ask(get(path).replace("Host: gateway\r\n", head))
            assert read_answer(answer)[0] == status, kind
        assert read_answer(await gate.ask(get(path)))[0] == status
