"""Calls over kept connections, to a real server."""

import asyncio

import pytest

from app.errors import CommandFailed
from app.receiver import Receiver
from app.receiver.behaviour import gated, status
from app.receiver.misbehaviour import close_after_request, hang
from scripts.load import caller as module
from scripts.load.caller import Caller
from tests.wait import wait_until


def base(server: Receiver) -> str:
    return f"http://127.0.0.1:{server.port}"


async def test_a_call_carries_key_and_body_and_brings_the_answer():
    seen = []
    server = Receiver(on_request=seen.append, default=status(202, body=b'{"id":1}'))
    async with server, Caller(base(server), "mk_1", 4) as caller:
        assert await caller.call("POST", "/v1/posts", b'{"a":1}') == (202, b'{"id":1}')
        assert await caller.call("GET", "/v1/stats") == (202, b'{"id":1}')
    post, get = seen
    assert (post.method, post.target, post.body) == ("POST", "/v1/posts", b'{"a":1}')
    assert post.headers["authorization"] == "Bearer mk_1"
    assert (get.method, get.body) == ("GET", b"")


async def test_calls_one_after_the_other_share_a_connection():
    async with Receiver() as server, Caller(base(server), "k", 4) as caller:
        for _ in range(5):
            await caller.call("DELETE", "/x")
        assert server.connections == 1


async def test_calls_beyond_the_connections_wait_for_their_turn():
    gate = asyncio.Event()
    server = Receiver(default=gated(gate))
    async with server, Caller(base(server), "k", 2) as caller:
        calls = [asyncio.ensure_future(caller.call("GET", "/x")) for _ in range(5)]
        await wait_until(lambda: server.tally.requests == 2)
        assert server.connections == 2
        gate.set()
        assert [answer.status for answer in await asyncio.gather(*calls)] == [200] * 5
        assert server.connections == 2


async def test_a_connection_that_was_closed_meanwhile_is_not_used_again():
    async with Receiver() as server, Caller(base(server), "k", 1) as caller:
        await caller.call("GET", "/x")
        server.drop_connections()
        await wait_until(lambda: server.open_connections == 0)
        assert (await caller.call("GET", "/x")).status == 204
        assert server.connections == 2


async def test_a_connection_that_is_closed_instead_of_an_answer_is_an_error():
    server = Receiver(script=[close_after_request()])
    async with server, Caller(base(server), "k", 1) as caller:
        with pytest.raises(ConnectionError):
            await caller.call("GET", "/x")
        assert (await caller.call("GET", "/x")).status == 204


async def test_an_answer_that_does_not_come_ends_the_call(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "ANSWER_MAX_S", 0.05)
    async with Receiver(default=hang()) as server, Caller(base(server), "k", 1) as caller:
        with pytest.raises(TimeoutError):
            await caller.call("GET", "/x")


def test_a_url_that_is_none_is_refused():
    with pytest.raises(CommandFailed, match="is no URL"):
        Caller("127.0.0.1:8000", "k", 1)
