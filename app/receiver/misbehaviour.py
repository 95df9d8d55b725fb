"""Behaviours of receivers that are slow, broken, overloaded or hostile."""

import asyncio
import zlib

from app.receiver.answer import response
from app.receiver.behaviour import Behaviour, Turn, raw

# Long enough for the other side to have read what came before a reset, which would take it away.
_SEEN_S = 0.03
# How long a connection is held that is not even read; its other side cannot be seen to go.
SILENCE_S = 60.0
REFUSE_S = 1.0
BOMB_BYTES = 10 * 1024 * 1024
CHUNK_BYTES = 1024


# Too slow.


def drip(data: bytes | None = None, gap_s: float = 0.01, code: int = 200) -> Behaviour:
    """One byte at a time."""
    data = response(code, body=b"ok") if data is None else data
    parts = (data[at : at + 1] for at in range(len(data)))
    return raw(*parts, gap_s=gap_s, name="drip", status=code)


def headers_then_stop(code: int = 200) -> Behaviour:
    """The head of an answer whose body never comes."""

    async def act(turn: Turn) -> None:
        await turn.write(response(code, headers=[("content-length", "5")]))
        await _hang(turn)

    return Behaviour(act, "stop-after-head")


def hang() -> Behaviour:
    """Reads the request and says nothing, until the other side goes."""
    return Behaviour(_hang, "hang")


async def _hang(turn: Turn) -> None:
    turn.is_last = True
    await asyncio.Event().wait()


def silence() -> Behaviour:
    """Takes the connection and does not even read."""

    async def act(turn: Turn) -> None:
        turn.is_last = True
        turn.stop_reading()
        await asyncio.sleep(SILENCE_S)

    return Behaviour(act, "silence", before_request=True)


# Too much.


def big_body(size: int, code: int = 200) -> Behaviour:
    answer = response(code, body=b"x" * size)
    return raw(answer, name="big-body", status=code)


def endless_body(code: int = 200) -> Behaviour:
    """A body without an end, as fast as it is taken."""

    async def act(turn: Turn) -> None:
        turn.is_last = True
        await turn.write(response(code, headers=[("transfer-encoding", "chunked")]))
        while True:
            await turn.write(b"%x\r\n%b\r\n" % (CHUNK_BYTES, b"x" * CHUNK_BYTES))

    return Behaviour(act, "endless-body", code)


def endless_head() -> Behaviour:
    """A head without an end, as fast as it is taken."""

    async def act(turn: Turn) -> None:
        turn.is_last = True
        await turn.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            await turn.write(b"x-filler: " + b"x" * CHUNK_BYTES + b"\r\n")

    return Behaviour(act, "endless-head")


def gzip_bomb(code: int = 200) -> Behaviour:
    """A small body that is `BOMB_BYTES` long once it is unpacked; nobody asked for gzip."""
    body = zlib.compress(bytes(BOMB_BYTES), level=9, wbits=31)
    answer = response(code, headers=[("content-encoding", "gzip")], body=body)
    return raw(answer, name="gzip-bomb", status=code)


# Against the protocol.


def short_body(code: int = 200) -> Behaviour:
    """A body that ends before its Content-Length."""
    answer = response(code, headers=[("content-length", "100")], body=b"short")
    return raw(answer, close=True, name="short-body")


def long_body(code: int = 200) -> Behaviour:
    """A body that goes on after its Content-Length."""
    answer = response(code, headers=[("content-length", "5")], body=b"longer than that")
    return raw(answer, name="long-body", status=code)


def chunked_garbage(code: int = 200) -> Behaviour:
    head = response(code, headers=[("transfer-encoding", "chunked")])
    return raw(head + b"xyz\r\nbody\r\n0\r\n\r\n", name="chunked-garbage")


def two_responses(first: int = 200, second: int = 200) -> Behaviour:
    """Two answers to one request, in one write."""
    both = response(first, body=b"first") + response(second, body=b"second")
    return raw(both, name="two-responses", status=first)


def interim(*codes: int, then: int = 200) -> Behaviour:
    """Interim responses before the real one."""
    heads = b"".join(f"HTTP/1.1 {code} Interim\r\n\r\n".encode() for code in codes)
    return raw(heads + response(then), name="interim", status=then)


def banner(data: bytes) -> Behaviour:
    """Speaks before it is asked, as other protocols do."""

    async def act(turn: Turn) -> None:
        await turn.write(data)
        await _hang(turn)

    return Behaviour(act, "banner", before_request=True)


# Gone.


def close_idle(code: int = 200) -> Behaviour:
    """A proper answer, and then the connection is closed without a word."""
    return raw(response(code), close=True, name="close-idle", status=code)


def close_after_request() -> Behaviour:
    """Reads the request and closes in an orderly way."""
    return raw(close=True, name="close-unanswered")


def reset_before_request() -> Behaviour:
    """Resets a connection at once, without having read from it."""
    return Behaviour(_reset, "reset-before-request", before_request=True)


def reset_after_request() -> Behaviour:
    """Reads the request and resets."""
    return Behaviour(_reset, "reset-before-response")


async def _reset(turn: Turn) -> None:
    turn.reset()


def reset_in_body(code: int = 200) -> Behaviour:
    """Resets in the middle of the answer, after the other side has seen the first half."""

    async def act(turn: Turn) -> None:
        await turn.write(response(code, headers=[("content-length", "100")], body=b"half"))
        await asyncio.sleep(_SEEN_S)
        turn.reset()

    return Behaviour(act, "reset-in-response")


def reset_after_response(code: int = 200) -> Behaviour:
    """A proper answer, and then a reset."""

    async def act(turn: Turn) -> None:
        await turn.write(response(code))
        await asyncio.sleep(_SEEN_S)
        turn.reset()

    return Behaviour(act, "reset-after-response", code)


def refuse(for_s: float = REFUSE_S) -> Behaviour:
    """Resets the connection and lets nobody connect for a while, as a server that restarts."""

    async def act(turn: Turn) -> None:
        turn.refuse(for_s)
        turn.reset()

    return Behaviour(act, "refuse", before_request=True)
