"""A CONNECT proxy, real and small: it makes tunnels, or misbehaves in the way it is told to.

    async with ConnectProxy() as proxy:
        ...                      # send something through proxy.url
        proxy.asked              # ["127.0.0.1:9000"]

As a process of its own it prints its port, and then a line for each CONNECT, what it was for:

    python -m tests.connect_proxy [--route HOST=HOST]…

and does what the user is called that it is given: http://hang:@127.0.0.1:PORT.
"""

import argparse
import asyncio
import base64
import contextlib
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tests.wait import block_until

ROOT = Path(__file__).parent.parent
OPENED = b"HTTP/1.1 200 Connection established\r\n\r\n"
# What it may do instead of making a tunnel: the bytes it answers with, after which it hangs up.
ANSWERS = {
    "403": b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno",
    "407": b"HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic realm=out\r\ncontent-length: 0\r\n\r\n",
    "407 of smokescreen": b"HTTP/1.1 407 Request rejected by proxy\r\nconnection: close\r\n\r\n",
    "502": b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
    "503": b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\n\r\n",
    "504": b"HTTP/1.0 504 Gateway Timeout\r\n\r\n",
    "garbage": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "half": b"HTTP/1.1 200 Conn",
    "endless": b"HTTP/1.1 200 OK\r\n" + b"x-more: yes\r\n" * 5_000,
    "nothing": b"",
}
HANG = "hang"  # takes the connection and the request, and says nothing
DEAF = "deaf"  # says nothing from the start: no TLS either


class ConnectProxy:
    """`routes` lead to other hosts than asked: "93.184.216.34" → "127.0.0.1".

    `does` is a key of `ANSWERS`, `HANG`, or "" for tunnels; `does_for` the same for one place.
    `obeys`: it does what the user of a request is called.
    With `login` ("user:password") nobody gets a tunnel without it.
    """

    def __init__(
        self,
        *,
        routes: Mapping[str, str] | None = None,
        does: str = "",
        login: str = "",
        opened: bytes = OPENED,
        tls: ssl.SSLContext | None = None,
        obeys: bool = False,
        tells: bool = False,
    ) -> None:
        self.routes = dict(routes or {})
        self.does = does
        self.does_for: dict[str, str] = {}
        self.login = login
        self.opened = opened
        self.asked: list[str] = []
        self.heads: list[bytes] = []
        self.connections = 0
        self.port = 0
        self._tls = tls
        self._obeys = obeys
        self._tells = tells
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def open(self) -> int:
        return len(self._open)

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> "ConnectProxy":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listens; on the port it had before, if it was stopped."""
        deaf = self.does == DEAF
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=None if deaf else self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuses whoever connects, and cuts what is open."""
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def cut(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            place = head.split(b" ")[1].decode()
            self.heads.append(head)
            self.asked.append(place)
            if self._tells:
                print(place, flush=True)  # noqa: T201
            await self._answer(place, head, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # one side has gone
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _answer(
        self, place: str, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        does, login = self.does_for.get(place, self.does), _login(head)
        if self._obeys:
            does = login.rstrip(":")
        if self.login and login != self.login:
            does = "407"
        if does in ANSWERS:
            writer.write(ANSWERS[does])
            writer.close()
            await writer.wait_closed()
        elif does:
            await reader.read()
        else:
            await self._pass(place, reader, writer)

    async def _pass(
        self, place: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        host, _, port = place.rpartition(":")
        host = host.strip("[]")
        try:
            back, on = await asyncio.open_connection(self.routes.get(host, host), int(port))
        except OSError:
            writer.write(ANSWERS["502"])
            await writer.drain()
            return
        self._open.add(on)
        try:
            writer.write(self.opened)
            await asyncio.wait(
                [asyncio.create_task(copy(reader, on)), asyncio.create_task(copy(back, writer))]
            )
        finally:
            self._open.discard(on)
            on.transport.abort()


def _login(head: bytes) -> str:
    _, _, after = head.partition(b"proxy-authorization: Basic ")
    return base64.b64decode(after.partition(b"\r\n")[0]).decode()


async def copy(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    """Until either side ends; then the other is ended as well."""
    try:
        while data := await source.read(65_536):
            to.write(data)
            await to.drain()
        to.close()
    except (OSError, RuntimeError):
        pass  # one side has gone; uvloop calls that a RuntimeError


@dataclass(frozen=True, slots=True)
class ProxyProcess:
    """The same as a process of its own, that `obeys`."""

    port: int
    told: Path

    def url(self, does: str = "") -> str:
        return f"http://{quote(does)}:@127.0.0.1:{self.port}"

    @property
    def asked(self) -> list[str]:
        return self.told.read_text().splitlines()[1:]


@contextlib.contextmanager
def proxy_process(folder: Path, *options: str) -> Iterator[ProxyProcess]:
    told = folder / "proxy.txt"
    with told.open("w") as out:
        command = [sys.executable, "-m", "tests.connect_proxy", *options]
        process = subprocess.Popen(command, stdout=out, cwd=ROOT, text=True)
    try:
        port = block_until(lambda: process.poll() or told.read_text().partition("\n")[0], 10)
        yield ProxyProcess(int(port), told)
    finally:
        process.terminate()
        process.wait(10)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--route", action="append", default=[])
    routes = dict(route.split("=") for route in parser.parse_args().route)
    async with ConnectProxy(routes=routes, obeys=True, tells=True) as proxy:
        print(proxy.port, flush=True)  # noqa: T201
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
