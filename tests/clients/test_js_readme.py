"""The examples of the JavaScript client's README, run as they stand but for the two addresses."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.store.client import Store
from tests.clients.node import CLIENT, NODE
from tests.clients.test_js_client import gateway_url, token_of
from tests.flows.service import Service, serve
from tests.wait import wait_until

README = (CLIENT / "README.md").read_text()
BLOCKS = dict(re.findall(r"^```js client=(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL))


@pytest.fixture
async def service(single_store: Store) -> AsyncIterator[Service]:
    async with serve(single_store) as service:
        await service.befriend(("alice", "bob"))
        yield service


@asynccontextmanager
async def token_server(token: str) -> AsyncIterator[str]:
    """What an application has: an address that gives the token of who is signed in."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(token)}\r\nConnection: close\r\n\r\n"
        writer.write(f"{head}{token}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def running(block: str, service: Service, directory: Path) -> AsyncIterator[list[str]]:
    """A block in a process of its own: the lines it has printed so far."""
    async with token_server(token_of("bob")) as tokens:
        text = BLOCKS[block].replace("wss://gateway.example.com", gateway_url(service))
        text = text.replace("https://app.example.com", tokens)
        process = await asyncio.create_subprocess_exec(
            NODE,
            "--no-warnings",
            "--experimental-webstorage",
            f"--localstorage-file={directory / 'storage'}",
            "--input-type=module",
            "--eval",
            text,
            cwd=CLIENT,
            stdout=asyncio.subprocess.PIPE,
        )
        printed: list[str] = []
        reading = asyncio.create_task(_read(process, printed))
        try:
            yield printed
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            await reading


async def _read(process: asyncio.subprocess.Process, printed: list[str]) -> None:
    assert process.stdout is not None
    while line := await process.stdout.readline():
        printed.append(line.decode().strip())


def offsets(printed: list[str]) -> list[int]:
    return [int(line.split()[0]) for line in printed if line[0].isdecimal()]


def test_every_block_is_one_of_those_that_are_run() -> None:
    assert README.count("```") == 2 * len(BLOCKS)
    assert set(BLOCKS) == {"follow", "keep", "read"}


async def test_following(service: Service, tmp_path: Path) -> None:
    async with running("follow", service, tmp_path) as printed:
        await wait_until(lambda: "open" in printed, 10)
        await service.post("alice", data={"text": "hello"})
        await wait_until(lambda: "1 post.created alice { text: 'hello' }" in printed)


async def test_going_on_after_a_reload(service: Service, tmp_path: Path) -> None:
    async with running("keep", service, tmp_path) as printed:
        for _ in range(3):
            await service.post("alice")
        await wait_until(lambda: offsets(printed) == [1, 2, 3], 10)
    for _ in range(2):
        await service.post("alice")
    async with running("keep", service, tmp_path) as printed:
        await wait_until(lambda: offsets(printed)[-1:] == [5], 10)
    # The third one was printed, and may have been killed before it was noted.
    assert offsets(printed)[-2:] == [4, 5]
    assert set(offsets(printed)) <= {3, 4, 5}


async def test_reading_in_a_loop(service: Service, tmp_path: Path) -> None:
    async with running("read", service, tmp_path) as printed:
        posts = [await service.post("alice", data={"n": n}) for n in range(3)]
        await wait_until(lambda: printed == ["1 { n: 0 }", "2 { n: 1 }", "3 { n: 2 }"], 10)
        for post in posts:
            await service.settled(post["id"], "bob", "delivered", "socket")
