"""Clients that keep to HTTP only in part, or not at all."""

import asyncio
import io
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from ipaddress import ip_network

import pytest
from starlette.types import Receive, Scope, Send

from app.api.http import HttpLimits
from tests.api.conftest import Api
from tests.api.served import WAIT_S, Raw, Served, served
from tests.wait import wait_until

LIMITS = HttpLimits(
    connections_max=4,
    headers_max=20,
    head_bytes_max=8_192,
    head_timeout_s=0.2,
    stall_timeout_s=0.2,
    linger_s=0.2,
)

MEGABYTES = 20_000_000


@pytest.fixture
async def strict(single_api: Api) -> AsyncIterator[Served]:
    async with served(single_api, LIMITS) as made:
        yield made


async def pour(raw: Raw, piece: bytes) -> None:
    """Writes a piece again and again, until the server has had enough."""
    with suppress(OSError):
        async with asyncio.timeout(WAIT_S):
            while not raw.reader.at_eof():
                raw.writer.write(piece)
                await raw.writer.drain()
                await asyncio.sleep(0)


@pytest.mark.parametrize(
    "piece",
    [b"x-a: " + b"b" * 1_000 + b"\r\n", b"c" * 1_000],
    ids=["many headers", "one header without end"],
)
async def test_a_head_without_end_is_431(strict: Served, piece: bytes):
    async with strict.raw(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: ") as raw:
        raw.writer.write(piece * 20)
        assert await raw.problem() == (431, "head-too-large")
    assert strict.api.services.stats.refusals.by_kind == {"head-too-large": 1}


async def test_a_path_without_end_is_431(strict: Served):
    async with strict.raw(b"GET /" + b"a" * 20_000) as raw:
        assert await raw.problem() == (431, "head-too-large")


async def test_a_large_head_within_the_bound_is_read(strict: Served):
    async with strict.raw(strict.head("GET /healthz", x_a="b" * 7_000)) as raw:
        assert (await raw.answer())[0] == 200


async def test_a_head_that_comes_at_once_has_no_more_room(strict: Served):
    for more in (f"x-a: {'b' * 8_200}\r\n", f"x-a: {'b' * 800}\r\n" * 11):
        async with strict.raw(strict.head("GET /healthz")[:-2] + more.encode() + b"\r\n") as raw:
            assert await raw.problem() == (431, "head-too-large")
    async with strict.raw(strict.head(f"GET /healthz?{'a' * 8_200}")) as raw:
        assert await raw.problem() == (431, "head-too-large")


async def test_so_many_headers_are_read_and_one_more_is_431_and_nothing_is_done(strict: Served):
    body = b'{"author":"ann","data":{}}'
    named = {f"x_{number}": "y" for number in range(LIMITS.headers_max - 3)}  # and three of ours
    head = strict.head("POST /v1/posts", content_length=str(len(body)), **named)
    one_more = strict.head("POST /v1/posts", content_length=str(len(body)), z="y", **named)
    async with strict.raw(head + body) as raw:
        assert (await raw.answer())[0] == 202
        raw.writer.write(one_more + body)
        assert await raw.problem() == (431, "too-many-headers")
    assert strict.api.services.stats.refusals.by_kind == {"too-many-headers": 1}
    assert strict.api.services.stats.accepted == 1


async def test_trailers_are_passed_over_and_end_the_connection_when_they_do_not_end(
    strict: Served,
):
    head = strict.head("POST /v1/posts", transfer_encoding="chunked")
    body = b'{"author":"ann","data":{}}'
    chunks = b"%x\r\n%b\r\n0\r\n" % (len(body), body)
    async with strict.raw(head + chunks + b"x-a: b\r\nauthorization: other\r\n\r\n") as raw:
        assert (await raw.answer())[0] == 202
    for start, piece in ((b"x-a: ", b"b" * 1_000), (b"", b"x-a: b\r\n" * 100)):
        async with strict.raw(head + chunks + start) as raw:
            await pour(raw, piece)
            assert await raw.ended()


@pytest.mark.parametrize("begun", [b"", b"GET", b"GET /healthz HTTP/1.1\r\nhost: x\r\n", b"\r\n"])
async def test_a_head_that_does_not_come_ends_the_connection(strict: Served, begun: bytes):
    async with strict.raw(begun) as raw:
        if begun:
            assert await raw.problem() == (408, "head-timeout")
        else:
            assert await raw.ended()
    await wait_until(lambda: strict.connections.open == 0)


async def test_a_head_that_drips_has_no_more_time_than_another(strict: Served):
    async with strict.raw() as raw:
        answer = asyncio.ensure_future(raw.problem())
        for byte in b"GET /healthz HTTP/1.1\r\nhost: " + b"x" * 1_000:
            if answer.done():
                break
            raw.writer.write(bytes([byte]))
            await asyncio.sleep(0.01)
        assert await answer == (408, "head-timeout")
    assert strict.api.services.stats.refusals.by_kind == {"head-timeout": 1}


async def test_the_second_head_of_a_connection_has_the_same_bounds(strict: Served):
    async with strict.raw(strict.head("GET /healthz")) as raw:
        assert (await raw.answer())[0] == 200
        raw.writer.write(b"GET /healthz")
        assert await raw.problem() == (408, "head-timeout")


async def test_a_connection_that_was_of_use_may_stay_idle(strict: Served):
    async with strict.raw(strict.head("GET /healthz")) as raw:
        assert (await raw.answer())[0] == 200
        await asyncio.sleep(2 * LIMITS.head_timeout_s)
        raw.writer.write(strict.head("GET /healthz"))
        assert (await raw.answer())[0] == 200


async def test_more_connections_than_there_may_be_are_503(strict: Served):
    async with AsyncExitStack() as stack:
        kept = [await stack.enter_async_context(strict.raw()) for _ in range(4)]
        for raw in kept:
            raw.writer.write(strict.head("GET /healthz"))
            assert (await raw.answer())[0] == 200
        async with strict.raw() as raw:
            status, headers, _ = await raw.answer()
            assert (status, headers["retry-after"]) == (503, "1")
            assert await raw.ended()
        kept[0].writer.write(strict.head("GET /healthz"))
        assert (await kept[0].answer())[0] == 200
    await wait_until(lambda: strict.connections.open == 0)
    async with strict.raw(strict.head("GET /healthz")) as raw:
        assert (await raw.answer())[0] == 200
    assert strict.api.services.stats.refusals.by_kind["too-many-connections"] == 1


async def test_an_address_may_have_only_so_many_connections(single_api: Api):
    limits = HttpLimits(connections_per_address_max=2)
    async with served(single_api, limits) as made, AsyncExitStack() as stack:
        kept = [await stack.enter_async_context(made.raw()) for _ in range(2)]
        for raw in kept:
            raw.writer.write(made.head("GET /healthz"))
            assert (await raw.answer())[0] == 200
        for forwarded in ({}, {"x_forwarded_for": "192.0.2.7"}):
            async with made.raw(made.head("GET /healthz", **forwarded)) as raw:
                status, headers, body = await raw.answer()
                assert (status, headers["retry-after"]) == (429, "1")
                assert b"127.0.0.1 has 2 connections open already." in body
                assert await raw.ended()
        kept[0].writer.write(made.head("GET /healthz"))
        assert (await kept[0].answer())[0] == 200
        kept[1].writer.close()
        await wait_until(lambda: made.connections.open == 1)
        async with made.raw(made.head("GET /healthz")) as raw:
            assert (await raw.answer())[0] == 200
    assert single_api.services.stats.refusals.by_kind == {"too-many-of-address": 2}
    await wait_until(lambda: made.connections.open == 0)
    assert len(made.connections.addresses) == 0


async def test_a_proxy_of_ones_own_may_have_any_number_of_connections(single_api: Api):
    limits = HttpLimits(connections_per_address_max=1, trusted_proxies=(ip_network("127.0.0.0/8"),))
    async with served(single_api, limits) as made, AsyncExitStack() as stack:
        for _ in range(4):
            raw = await stack.enter_async_context(made.raw(made.head("GET /healthz")))
            assert (await raw.answer())[0] == 200


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nhost: x\r\na b: c\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: a\x00b\r\n\r\n",
        b"POST /v1/posts HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST /v1/posts HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/posts HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
        b"content-length: 3\r\n\r\n0\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_a_400_problem(strict: Served, request_: bytes):
    async with strict.raw(request_) as raw:
        assert await raw.problem() == (400, "malformed-request")


async def test_what_follows_an_early_answer_is_not_taken_for_ever(strict: Served):
    head = strict.head("POST /v1/posts", transfer_encoding="chunked")
    async with strict.raw(head + b"40001\r\n" + b"x" * 0x40001 + b"\r\n") as raw:
        assert (await raw.answer())[0] == 413
        await pour(raw, b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
        assert await raw.ended()
    await wait_until(lambda: strict.connections.open == 0)


async def test_a_connection_goes_on_after_an_early_answer_whose_request_ends_in_time(
    strict: Served,
):
    size = 300_000
    head = strict.head("POST /v1/posts", content_length=str(size))
    async with strict.raw(head) as raw:
        assert (await raw.answer())[0] == 413
        raw.writer.write(b"x" * size + strict.head("GET /healthz"))
        assert (await raw.answer())[0] == 200
        await asyncio.sleep(2 * LIMITS.linger_s)
        raw.writer.write(strict.head("GET /healthz"))
        assert (await raw.answer())[0] == 200


async def test_what_stands_in_a_query_is_in_no_log(
    strict: Served, caplog: pytest.LogCaptureFixture
):
    """Somebody may put a token there, though it is looked for in the header alone."""
    written = io.StringIO()  # caplog hears loggers that tell nobody as well
    handler, root = logging.StreamHandler(written), logging.getLogger()
    with caplog.at_level(logging.DEBUG):
        root.addHandler(handler)
        try:
            for target in ("/v1/users/bob/feed", "/healthz", "/nowhere", "//", "no target"):
                async with strict.raw(strict.head(f"GET {target}?token=planted")) as raw:
                    assert (await raw.answer())[0] in (200, 400, 404, 422)
            logging.getLogger("uvicorn.error").warning("it is heard")
        finally:
            root.removeHandler(handler)
    assert "it is heard" in written.getvalue()
    assert "planted" not in written.getvalue()


async def test_a_client_that_reads_nothing_is_cut_off(strict: Served):
    request = strict.head("GET /openapi.json")
    async with strict.raw() as raw:
        raw.reader._limit = 1_024  # so that the reader stops reading from the socket
        await pour(raw, request)
    await wait_until(lambda: strict.connections.open == 0)
    assert strict.connections.stalled == 1


async def _send_megabytes(_: Scope, receive: Receive, send: Send) -> None:
    await receive()
    body = b"x" * MEGABYTES
    head = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def test_a_client_that_reads_slowly_gets_all_of_its_answer(single_api: Api):
    async with (
        served(single_api, LIMITS, _send_megabytes) as made,
        made.raw(made.head("GET /")) as raw,
    ):
        await raw.reader.readuntil(b"\r\n\r\n")
        left, began = MEGABYTES, time.monotonic()
        while left > 0:
            left -= len(await raw.reader.readexactly(min(left, 1_000_000)))
            await asyncio.sleep(LIMITS.stall_timeout_s / 4)
    assert time.monotonic() - began > 2 * LIMITS.stall_timeout_s


async def test_requests_in_one_write_are_answered_in_order(strict: Served):
    paths = ["/healthz", "/v1/keys", "/nothing"] * 3
    requests = b"".join(strict.head(f"GET {path}") for path in paths)
    async with strict.raw(requests) as raw:
        statuses = [(await raw.answer())[0] for _ in paths]
    assert statuses == [200, 200, 404] * 3
