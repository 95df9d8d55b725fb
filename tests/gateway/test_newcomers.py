"""Sockets that are opened without a token, which has then to be their first message."""

import asyncio
import json
import logging
from contextlib import AsyncExitStack

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Close, Opcode

from app.domain.close_codes import CloseCode
from app.gateway.door import Rules
from app.gateway.limits import Limits
from app.gateway.newcomers import MESSAGE_BYTES_MAX
from app.tokens import LEEWAY_S, make_token
from tests.gateway.frames import binary, masked, read_frames, text
from tests.gateway.gate import (
    EPOCH,
    SECRET,
    Gate,
    QuietInbox,
    QuietNode,
    Socket,
    running,
    token_of,
)
from tests.gateway.rig import EVENT, MemoryPosts, make_post
from tests.gateway.test_handshake import read_answer, request
from tests.wait import wait_until

LOOPS = ("uvloop", "asyncio")

ENCODINGS = ("moments.v1.json", "moments.v1.msgpack")


def said(token: str) -> bytes:
    return text(json.dumps({"type": "token", "token": token}))


async def greet(socket: Socket, user: str = "bob") -> None:
    """Sends the token, and takes the hello."""
    await socket.say(type="token", token=token_of(user))
    socket.hello = await socket.next()
    assert socket.hello["type"] == "hello"


async def is_waiting(gate: Gate, count: int = 1) -> None:
    await wait_until(lambda: gate.stats.tokens_awaited == count)


def nobody_is_here(gate: Gate) -> bool:
    stats, gateway = gate.stats, gate.gateway
    return (stats.tokens_awaited, stats.sockets_open, gateway._connections) == (0, 0, 0)


# Let in.


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_the_token_may_be_the_first_message(encoding: str):
    inbox = QuietInbox(bob=(EVENT,) * 3)
    async with (
        running(None, inbox, MemoryPosts(make_post())) as gate,
        gate.socket(None, subprotocols=[encoding], after=1, ack="explicit") as socket,
    ):
        await greet(socket)
        assert (socket.hello["user"], socket.hello["epoch"]) == ("bob", EPOCH)
        assert await socket.offsets(2) == [2, 3]
        await socket.ack(3)
        await wait_until(lambda: inbox.cursors == {"bob": 3})
        assert (gate.stats.sockets_open, gate.stats.tokens_awaited) == (1, 0)


async def test_before_its_token_it_is_nobodys_and_gets_nothing():
    node = QuietNode()
    inbox = QuietInbox(bob=(EVENT,))
    async with (
        running(node, inbox, MemoryPosts(make_post())) as gate,
        gate.greeted("eve"),
        gate.socket(None) as socket,
    ):
        await is_waiting(gate)
        await (await socket.raw.ping())
        assert gate.stats.users_here == 1
        assert node.named == {"eve"}
        assert {user for asks in inbox.asked for user, _, _ in asks} == {"eve"}
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.raw.recv(), 0.1)
        await greet(socket)
        assert await socket.offsets(1) == [1]
        assert node.named == {"eve", "bob"}


async def test_what_comes_behind_the_token_in_one_read_is_the_sockets():
    inbox = QuietInbox(bob=(EVENT,) * 5)
    bodies = MemoryPosts(make_post())
    async with running(None, inbox, bodies) as gate, gate.raw() as (reader, writer):
        ack, first = text('{"type":"ack","offset":4}'), masked(Opcode.PING, b"first")
        target, token = "/v1/socket?after=4&ack=explicit", said(token_of("bob"))
        writer.write(request(target).encode() + first + token + ack + masked(Opcode.PING, b"last"))
        status, _, _ = read_answer(await reader.readuntil(b"\r\n\r\n"))
        assert status == 101
        read = b""
        while len(frames := read_frames(read)) < 4:
            read += await reader.read(1_000)
        *pongs, hello, event = frames
        assert [(pong.opcode, bytes(pong.data)) for pong in pongs] == [
            (Opcode.PONG, b"first"),
            (Opcode.PONG, b"last"),
        ]
        assert b'"hello"' in bytes(hello.data)
        assert b'"offset":5' in bytes(event.data)
        await wait_until(lambda: inbox.cursors == {"bob": 4})


async def test_messages_behind_the_token_are_judged_as_the_sockets_own():
    async with running() as gate, gate.raw() as (reader, writer):
        writer.write(request("/v1/socket").encode() + said(token_of("bob")) + text("bad"))
        await reader.readuntil(b"\r\n\r\n")
        (close,) = read_frames(await reader.read(1_000))
        assert Close.parse(bytes(close.data)).code == CloseCode.BAD_MESSAGE
        await wait_until(lambda: gate.stats.sockets_open == 0)


async def test_a_token_may_come_byte_by_byte():
    async with running() as gate, gate.raw() as (reader, writer):
        for byte in request("/v1/socket").encode() + said(token_of("bob")):
            writer.write(bytes((byte,)))
            await writer.drain()
        await reader.readuntil(b"\r\n\r\n")
        (hello,) = read_frames(await reader.read(1_000))
        assert json.loads(bytes(hello.data))["user"] == "bob"


async def test_a_larger_message_is_for_those_who_were_let_in():
    async with running() as gate, gate.socket(None) as socket:
        await greet(socket)
        await socket.say(type="token", token="x" * (MESSAGE_BYTES_MAX + 1))
        assert await socket.closed() == CloseCode.BAD_TOKEN
        assert "longer than" in (socket.raw.close_reason or "")


async def test_a_socket_that_came_by_message_ends_with_its_token_and_may_renew_it():
    async with running() as gate, gate.socket(None) as ends, gate.socket(None) as goes_on:
        short = token_of("bob", ttl_s=1 - LEEWAY_S)
        for socket in (ends, goes_on):
            await socket.say(type="token", token=short)
            assert (await socket.next())["type"] == "hello"
        await goes_on.say(type="token", token=token_of("bob"))
        assert await ends.closed() == CloseCode.TOKEN_EXPIRED
        await (await goes_on.raw.ping())


# Not let in.


@pytest.mark.parametrize(
    ("first", "code", "reason"),
    [
        (text('{"type":"ack","offset":0}'), 4500, "the first message has to be the token"),
        (text('{"type":"ping"}'), 4500, "the first message has to be the token"),
        (text('{"type":"hello"}'), 4500, "unknown type 'hello'"),
        (text('{"type":"token"}'), 4500, "`token` is missing"),
        (text("token"), 4500, "cannot be decoded"),
        (binary(b"\x80"), 4500, "other kind of frame"),
        (said("x.y.z"), 4501, "the token does not hold"),
        (said(""), 4501, "the token does not hold"),
        (said("mk_" + "x" * 43), 4501, "the token does not hold"),
        (said(make_token(SECRET[::-1], "bob", ttl_s=60)), 4501, "the signature is not ours"),
        (said(make_token(SECRET, "bob", ttl_s=-60)), 4002, "the token has expired"),
        (text("x" * (MESSAGE_BYTES_MAX + 1)), 1009, ""),
        (text(b"\xff"), 1007, ""),
        (b"\x81\x01x", 1002, ""),
        (masked(Opcode.PING) * 200, 4502, "too many messages"),
        (masked(Opcode.CLOSE, Close(1000, "").serialize()), 1000, ""),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else str(value),
)
async def test_whatever_else_comes_first_closes(first: bytes, code: int, reason: str):
    async with running() as gate, gate.raw() as (reader, writer):
        writer.write(request("/v1/socket").encode() + first)
        await reader.readuntil(b"\r\n\r\n")
        read = b""
        while not (frames := read_frames(read)) or frames[-1].opcode is not Opcode.CLOSE:
            read += await reader.read(1_000)
        assert {frame.opcode for frame in frames[:-1]} <= {Opcode.PONG}
        close = Close.parse(bytes(frames[-1].data))
        assert close.code == code
        assert reason in close.reason
        assert (gate.stats.sockets_open, gate.stats.users_here) == (0, 0)
        writer.write(masked(Opcode.CLOSE))
        writer.close()
        await wait_until(lambda: nobody_is_here(gate))
        assert gate.stats.sockets_closed == {code: 1}


async def test_a_token_has_to_come_in_time(caplog: pytest.LogCaptureFixture):
    async with (
        running(limits=Limits(hello_timeout_s=0.3)) as gate,
        gate.raw() as (reader, writer),
    ):
        writer.write(request("/v1/socket").encode())
        await reader.readuntil(b"\r\n\r\n")
        (close,) = read_frames(await reader.read(1_000))
        assert Close.parse(bytes(close.data)) == Close(4005, "no token came in time")
        writer.write(said(token_of("bob")))  # too late: it has no effect
        writer.write(masked(Opcode.CLOSE))
        assert await reader.read() == b""
        await wait_until(lambda: nobody_is_here(gate))
        assert gate.stats.sockets_closed == {4005: 1}
        assert [(line.limit, line.code) for line in caplog.records] == [("hello_timeout_s", 4005)]


async def test_who_does_not_answer_that_is_cut(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("app.gateway.newcomers.CLOSE_TIMEOUT_S", 0.3)
    async with (
        running(limits=Limits(hello_timeout_s=0.2)) as gate,
        gate.raw() as (reader, writer),
    ):
        writer.write(request("/v1/socket").encode())
        await reader.read()
        await wait_until(lambda: nobody_is_here(gate))


async def test_who_goes_before_their_token_leaves_nothing_behind():
    async with running() as gate:
        for way in ("close", "abort", "eof"):
            async with gate.raw() as (reader, writer):
                writer.write(request("/v1/socket").encode())
                await reader.readuntil(b"\r\n\r\n")
                await is_waiting(gate)
                if way == "eof":
                    writer.write_eof()
                else:
                    getattr(writer.transport, way)()
                await wait_until(lambda: nobody_is_here(gate))
        assert gate.stats.sockets_closed == {1006: 3}
        assert not any(gate.gateway._wheel._slots)


async def test_the_one_that_has_waited_longest_makes_room(caplog: pytest.LogCaptureFixture):
    limits = Limits(tokens_awaited_max=2, goodbye_spread_s=0)
    async with running(limits=limits) as gate, AsyncExitStack() as open_:
        sockets = [await open_.enter_async_context(gate.socket(None)) for _ in range(3)]
        goodbye = await sockets[0].next()
        assert goodbye["type"] == "goodbye"
        assert 2_000 <= goodbye["reconnect_ms"] <= 10_000
        assert await sockets[0].closed() == CloseCode.NO_ROOM
        assert gate.stats.tokens_awaited == 2
        for socket in sockets[1:]:
            await greet(socket)
        assert gate.stats.sockets_refused == {"tokens_awaited_max": 1}
        assert [line.limit for line in caplog.records] == ["tokens_awaited_max"]
        async with gate.greeted("eve"):
            assert gate.stats.sockets_open == 3


@pytest.mark.parametrize("limit", ["sockets_max", "sockets_per_user_max"])
async def test_limits_of_sockets_hold_for_those_who_send_their_token(limit: str):
    async with (
        running(limits=Limits(goodbye_spread_s=0, **{limit: 2})) as gate,
        gate.greeted("bob"),
        gate.socket(None) as socket,
    ):
        await is_waiting(gate)
        async with gate.greeted("bob") if limit == "sockets_per_user_max" else AsyncExitStack():
            if limit == "sockets_max":  # the newcomer has taken the last place
                with pytest.raises(InvalidStatus, match="503"):
                    await gate.socket("eve").__aenter__()
                gate.stats.sockets_open += 1
            await socket.say(type="token", token=token_of("bob"))
            goodbye = await socket.next()
            assert goodbye["type"] == "goodbye"
            assert goodbye["reconnect_ms"] >= 2_000
            assert await socket.closed() == CloseCode.NO_ROOM
            assert gate.stats.sockets_refused[limit] >= 1
            if limit == "sockets_max":
                gate.stats.sockets_open -= 1


async def test_at_shutdown_they_are_told_as_well():
    async with running() as gate, gate.socket(None) as socket:
        await is_waiting(gate)
        gate.stop.set()
        goodbye = await socket.next()
        assert (goodbye["type"], goodbye["reason"]) == ("goodbye", "shutdown")
        with pytest.raises(ConnectionClosed):
            await socket.next()
        assert await socket.closed() == CloseCode.GOING_AWAY
        async with asyncio.timeout(2):
            await gate.has_ended.wait()


async def test_it_can_be_switched_off():
    async with running(rules=Rules(token_by_message=False)) as gate:
        with pytest.raises(InvalidStatus, match="401"):
            await gate.socket(None).__aenter__()
        assert gate.stats.sockets_accepted == 0


async def test_a_flood_of_bad_tokens_does_not_flood_the_log(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        async with running() as gate:
            for _ in range(20):
                async with gate.socket(None) as socket:
                    await socket.say(type="token", token="a.b.c")
                    assert await socket.closed() == CloseCode.BAD_TOKEN
            assert gate.stats.sockets_closed == {4501: 20}
            told = [line for line in caplog.records if getattr(line, "code", None) == 4501]
            assert [line.limit for line in told] == ["token_by_message"]
