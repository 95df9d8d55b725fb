"""What hostile clients send, to a gateway that runs as it does in production."""

import asyncio
import json
import secrets
from collections.abc import Iterable, Iterator

import pytest
from websockets.frames import Opcode

from app.store.embedded import EmbeddedServer
from app.tokens import make_token
from tests.credentials import SECRET, good_tokens
from tests.gateway.frames import binary, continuation, masked, text
from tests.gateway.gate import token_of
from tests.gateway.gateway_process import GatewayProcess, Peer, gateway_process
from tests.gateway.test_handshake import read_answer, request
from tests.wait import wait_until

MESSAGE_BYTES_MAX = 64 * 1024
QUICK = {"hello_timeout_s": "0.6", "ping_s": "0.6", "pong_timeout_s": "0.4"}


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, single_server: EmbeddedServer
) -> Iterator[GatewayProcess]:
    directory = tmp_path_factory.mktemp("gateway")
    with gateway_process(directory, single_server.url, **QUICK) as running:
        yield running


def raw(first: int, length: int, payload: bytes = b"", *, extended: int = 0) -> bytes:
    """A masked frame (the mask is zero) with the header as it is said, right or wrong."""
    head = bytes((first, 0x80 | length))
    if length >= 126:
        head += extended.to_bytes(2 if length == 126 else 8, "big")
    return head + bytes(4) + payload


def closing(code: int, reason: bytes = b"") -> bytes:
    return masked(Opcode.CLOSE, code.to_bytes(2, "big") + reason)


def fragments(pieces: Iterable[bytes]) -> bytes:
    first, *others = pieces
    rest = b"".join(continuation(piece, fin=False) for piece in others)
    return text(first, fin=False) + rest


# What is sent after the hello, and the code of the close frame it is answered with.
FRAMES: dict[str, tuple[bytes, int]] = {
    # RFC 6455, 5.1 and 5.2
    "a text that is not masked": (b"\x81\x02{}", 1002),
    "a ping that is not masked": (b"\x89\x00", 1002),
    "a close that is not masked": (b"\x88\x02\x03\xe8", 1002),
    **{
        f"reserved bit {bit:#x} of opcode {opcode}": (raw(0x80 | bit | opcode, 0), 1002)
        for bit in (0x40, 0x20, 0x10)
        for opcode in (1, 2, 8, 9, 10)
    },
    "all reserved bits": (raw(0xF1, 0), 1002),
    "a reserved bit in a fragment": (text("{", fin=False) + raw(0xC0, 1, b"}"), 1002),
    **{
        f"reserved opcode {opcode}": (raw(0x80 | opcode, 0), 1002)
        for opcode in (*range(3, 8), *range(11, 16))
    },
    "a request over HTTP behind the handshake": (b"GET /v1/socket HTTP/1.1\r\n\r\n", 1002),
    # Sizes.
    "a message one byte too long": (text("x" * (MESSAGE_BYTES_MAX + 1)), 1009),
    "the announcement of one": (raw(0x81, 127, extended=MESSAGE_BYTES_MAX + 1), 1009),
    "the announcement of 2^63 - 1 bytes": (raw(0x81, 127, extended=2**63 - 1), 1009),
    "the announcement of 2^64 - 1 bytes": (raw(0x82, 127, extended=2**64 - 1), 1009),
    "fragments too long in total": (fragments([b"x" * 1_000] * 66), 1009),
    "a last fragment too long": (
        text("x", fin=False) + continuation(b"x" * MESSAGE_BYTES_MAX, fin=True),
        1009,
    ),
    "too many fragments": (fragments([b""] * 2_100), 4502),
    # Fragments (RFC 6455, 5.4)
    "a continuation of nothing": (continuation(b"{}", fin=True), 1002),
    "a continuation behind a whole message": (
        text('{"type":"ack","offset":0}') + continuation(b"{}", fin=True),
        1002,
    ),
    "a message in a message": (text("{", fin=False) + text("}"), 1002),
    "another kind in a message": (text("{", fin=False) + binary(b"}"), 1002),
    # Control frames (RFC 6455, 5.5)
    **{
        f"a fragmented {name}": (raw(opcode, 0), 1002)
        for name, opcode in (("close", 8), ("ping", 9), ("pong", 10))
    },
    **{
        f"a {name} of 126 bytes": (raw(0x80 | opcode, 126, bytes(126), extended=126), 1002)
        for name, opcode in (("close", 8), ("ping", 9), ("pong", 10))
    },
    "a ping of 65,536 bytes": (raw(0x89, 127, bytes(65_536), extended=65_536), 1002),
    # Closing (RFC 6455, 5.5.1 and 7.4)
    "a close of one byte": (masked(Opcode.CLOSE, b"\x03"), 1002),
    **{
        f"close code {code}": (closing(code), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)
    },
    "a reason that is not UTF-8": (closing(1000, b"\xce\xba\xe1"), 1007),
    **{
        f"close code {code}, which may be sent": (closing(code, b"bye"), code)
        for code in (1000, 1001, 1002, 1003, 1007, 1011, 3000, 3999, 4000, 4999)
    },
    # UTF-8 (RFC 6455, 8.1)
    "a byte that is never in UTF-8": (text(b'{"\xff"}'), 1007),
    "a continuation byte alone": (text(b'{"\x80"}'), 1007),
    "a character that is cut off": (text(b'{"\xe2\x82'), 1007),
    "a character in too many bytes": (text(b'{"\xc0\xaf"}'), 1007),
    "half a surrogate pair": (text(b'{"\xed\xa0\x80"}'), 1007),
    "beyond U+10FFFF": (text(b'{"\xf4\x90\x80\x80"}'), 1007),
    "a character that another fragment breaks": (
        text(b"\xe2\x82", fin=False) + continuation(b"(", fin=True),
        1007,
    ),
    "a character that no fragment ends": (
        text(b"\xe2", fin=False) + continuation(b"\x82", fin=True),
        1007,
    ),
    "a message of bytes that is cut wrongly": (
        text(b"\xf0\x9d", fin=False) + masked(Opcode.PING) + continuation(b"\x84\xc0", fin=True),
        1007,
    ),
    # What is a frame, and no message of ours.
    "JSON too deep": (text("[" * (MESSAGE_BYTES_MAX - 1)), 4500),
    "JSON of a large number": (text('{"type":"ack","offset":' + "9" * 60_000 + "}"), 4500),
    "the other kind of frame": (binary(b"\x80"), 4500),
    # Floods.
    "a flood of pings": (masked(Opcode.PING, b"x" * 125) * 2_000, 4502),
    "a flood of pongs": (masked(Opcode.PONG) * 2_000, 4502),
    "a flood of messages": (text('{"type":"ack","offset":0}') * 2_100, 4502),
}

MSGPACK: dict[str, tuple[bytes, int]] = {
    "a map of 2^32 - 1 fields": (binary(b"\xdf\xff\xff\xff\xff"), 4500),
    "a text of 2^32 - 1 bytes": (binary(b"\xdb\xff\xff\xff\xff"), 4500),
    "arrays too deep": (binary(b"\x91" * 60_000), 4500),
    "maps too deep": (binary(b"\x81\xa1x" * 20_000), 4500),
    "an extension type": (binary(b"\xc7\x00\x05"), 4500),
    "a time out of bounds": (binary(b"\xc7\x0c\xff" + b"\xff" * 12), 4500),
    "a key that is a list": (binary(b"\x81\x90\x01"), 4500),
    "a text that is not UTF-8": (binary(b"\x82\xa4type\xa5token\xa5token\xa2\xff\xff"), 4500),
    "the other kind of frame": (text("{}"), 4500),
}

# What is sent instead of a handshake, and the status of the answer; None: cut without one.
HANDSHAKES: dict[str, tuple[bytes, int | None]] = {
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), None),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "bytes without a line": (secrets.token_bytes(1_000).replace(b"\n", b" "), None),
    "a head without end": (b"GET /v1/socket HTTP/1.1\r\n" + b"x: y\r\n" * 4_000, 431),
    "a header without end": (b"GET /v1/socket HTTP/1.1\r\nx: " + b"y" * 20_000, 431),
    "a header of many lines": (
        request().encode().replace(b"\r\n\r\n", b"\r\nx: a\r\n b\r\n\r\n"),
        400,
    ),
    "a header name with a space": (request(**{"x y": "1"}).encode(), 400),
    "a body announced twice": (
        request(Content_Length="0", Transfer_Encoding="chunked").encode(),
        400,
    ),
    "two keys": (request().encode().replace(b"Upgrade:", b"Sec-WebSocket-Key: x\r\nUpgrade:"), 400),
}


@pytest.mark.parametrize("encoding", ["moments.v1.json", "moments.v1.msgpack"])
async def test_each_hostile_frame_closes_its_own_socket_and_no_other(
    gateway: GatewayProcess, encoding: str
):
    before = await gateway.metrics()
    table = FRAMES if encoding == "moments.v1.json" else MSGPACK
    # The bystander is there for as long as all of them take.
    async with gateway.socket(f"/v1/socket?token={token_of('eve')}", patience_s=120) as bystander:
        for name, (said, code) in table.items():
            async with gateway.socket(Sec_WebSocket_Protocol=encoding) as peer:
                peer.send(said)
                close = await peer.close_frame()
                assert close is not None, name
                assert close.code == code, f"{name}: {close}"
        bystander.send(masked(Opcode.PING, b"still here"))
        while b"still here" not in await bystander.read():
            pass
    after = await wait_until_left(gateway)
    for code in {code for _, code in table.values()} - {3000, 3999, 4000, 4999}:
        counted = f"moments_sockets_closed_total{{{code}}}"
        expected = sum(of == code for _, of in table.values())
        assert after[counted] - before.get(counted, 0) == expected, code


async def wait_until_left(gateway: GatewayProcess) -> dict[str, float]:
    """The metrics once nobody is here any more, and nothing is left of anybody."""

    async def found() -> dict[str, float] | None:
        told = await gateway.metrics()
        here = ("sockets_open", "socket_users", "tokens_awaited", "sockets_behind")
        # The one that asks is a handshake itself.
        left = sum(told[f"moments_{name}"] for name in here) + told["moments_handshakes_open"] - 1
        return None if left else told

    return await wait_until(found)


async def test_what_is_no_handshake_gets_no_socket(gateway: GatewayProcess):
    before = (await gateway.metrics())["moments_sockets_accepted_total"]
    for name, (said, status) in HANDSHAKES.items():
        answer = await gateway.ask(said)
        assert (read_answer(answer)[0] if answer else None) == status, name
    after = await wait_until_left(gateway)
    assert after["moments_sockets_accepted_total"] == before


async def dripped(peer: Peer, said: bytes) -> int | None:
    """The code that a client gets who sends a byte now and then; None: it was cut."""

    async def drip() -> None:
        for byte in said:
            peer.send(bytes((byte,)))
            await asyncio.sleep(0.03)
        raise AssertionError("it was let to send all of it")

    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(drip())
        close = await peer.close_frame()
        sending.cancel()
    return close and close.code


async def test_whoever_takes_their_time_is_cut(gateway: GatewayProcess):
    before = await gateway.metrics()
    long = text("x" * 1_000)

    async def in_handshake(said: bytes) -> int | None:
        async with gateway.peer() as peer:
            return await dripped(peer, said)

    async def before_the_token() -> int | None:
        async with gateway.socket("/v1/socket") as peer:
            return await dripped(peer, long)

    async def in_a_frame() -> int | None:
        async with gateway.socket() as peer:
            return await dripped(peer, long)

    async def half_open() -> int | None:
        """As after a cable was pulled: nothing comes any more, and no ping is answered."""
        async with gateway.socket() as peer:
            close = await peer.close_frame()
            return close and close.code

    found = await asyncio.gather(
        in_handshake(request().encode()),
        in_handshake(b"\r" * 500),
        before_the_token(),
        in_a_frame(),
        half_open(),
    )
    assert found == [None, None, 4005, 4003, 4003]
    after = await wait_until_left(gateway)
    timed_out = "moments_handshakes_timed_out_total"
    assert after[timed_out] - before[timed_out] == 2


async def test_no_token_is_ever_shown(gateway: GatewayProcess):
    """Wherever it stands, whether it holds or not, and at every level of the log."""
    good = good_tokens("bob")["HS256"]
    bad = make_token(SECRET[::-1], "bob", ttl_s=60)
    shown = "planted-" + secrets.token_hex(16)
    for token in (good, bad, shown):
        bearer = {"Authorization": f"Bearer {token}"}
        said = json.dumps({"type": "token", "token": token})
        for target in ("/v1/socket", "/metrics", "/healthz", "/nowhere", "/v1/socket/"):
            await _say(gateway, request(f"{target}?token={token}"))
            await _say(gateway, request(f"{target}?token={token}&after=x"))
            await _say(gateway, request(target, **bearer))
            await _say(gateway, request(target, Cookie=f"token={token}", Origin=f"http://{token}"))
            await _say(gateway, request(f"{target}?token={token}", Sec_WebSocket_Version="8"))
        for first in (said, said[:-1], json.dumps({"type": "token", "token": [token]}), token):
            await _say(gateway, request("/v1/socket").encode() + text(first))
            await _say(gateway, request().encode() + text(first))
            await _say(gateway, request().encode() + text(first[:50], fin=False) + b"\x81\x01")
    output = gateway.output
    assert "closing" in output
    for token in (good, bad, shown):
        assert token not in output
        assert token[-20:] not in output
    assert "Traceback" not in output
    assert SECRET not in output


async def _say(gateway: GatewayProcess, said: bytes | str) -> None:
    """And waits for what is said to that."""
    async with gateway.peer() as peer:
        peer.send(said.encode() if isinstance(said, str) else said)
        await peer.read()
