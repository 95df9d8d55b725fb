import asyncio
import socket

import pytest

from app.commands.probe import answers, authority, claim_port, free_ports
from app.errors import UsageMistake


async def serve(answer: bytes):
    async def handle(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False),
        (b"", False),
        (b"garbage\r\n\r\n", False),
    ],
)
async def test_only_a_200_means_ready(answer, expected):
    server, port = await serve(answer)
    async with server:
        assert await answers("0.0.0.0", port, "/readyz") is expected


async def test_nobody_listening_means_not_ready():
    (port,) = free_ports("127.0.0.1", 1)
    assert not await answers("127.0.0.1", port, "/readyz")


def test_a_port_in_use_is_told_with_the_option_that_changes_it():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageMistake, match=rf"127\.0\.0\.1:{port} .*--gateway-port"):
            claim_port("127.0.0.1", port, "--gateway-port")


def test_a_host_that_is_not_ours_is_told_too():
    with pytest.raises(UsageMistake, match=r"cannot listen on 192\.0\.2\.1:8000"):
        claim_port("192.0.2.1", 8000, "--host")


def test_zero_stands_for_any_free_port():
    assert claim_port("127.0.0.1", 0, "--port") > 0
    assert len(set(free_ports("127.0.0.1", 5))) == 5


def test_an_ipv6_host_stands_in_brackets():
    assert authority("::1", 80) == "[::1]:80"
    assert authority("localhost", 80) == "localhost:80"
