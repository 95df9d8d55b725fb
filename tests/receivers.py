"""Receivers of webhooks for tests: servers that answer as they are told, well and badly.

    async with Receiver(status(503, retry_after="2"), reset_after_request()) as receiver:
        ...                          # send something to receiver.url
        receiver.requests[0].json()

Each request is answered by the next behaviour; when there are no more, by `default` (200). A
behaviour is an async function of the `Turn`, which holds the request and writes the answer. Where
it does not read the request itself (`before_request`), it takes over as soon as the connection is
there.
"""

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Request:
    """What came in. `connection` counts the receiver's connections from 1."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Turn:
    """One request's turn on a connection; a behaviour that sets `is_last` ends the connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    request: Request | None
    is_last: bool = False

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Close so that the other side sees a reset (RST), not an orderly end (FIN)."""
        self.is_last = True
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def hang(self) -> None:
        """Until the other side, or the end of the test, closes the connection."""
        self.is_last = True
        while await self.reader.read(65536):
            pass


@dataclass(frozen=True, slots=True)
class Behaviour:
    act: Callable[[Turn], Awaitable[None]]
    before_request: bool = False


def response(
    code: int = 200, *, headers: Headers = (), body: bytes = b"", version: str = "1.1"
) -> bytes:
    """A whole response with its Content-Length, unless `headers` say how long it is."""
    fields = list(headers)
    names = {name.lower() for name, _ in fields}
    if not names & {"content-length", "transfer-encoding"} and code not in (204, 304):
        fields.append(("content-length", str(len(body))))
    lines = [f"HTTP/{version} {code} Reason", *(f"{name}: {value}" for name, value in fields)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def raw(*parts: bytes, close: bool = False, gap_s: float = 0.0) -> Behaviour:
    """Write these bytes one after the other, `gap_s` apart, and perhaps close then."""

    async def act(turn: Turn) -> None:
        for part in parts:
            await turn.write(part)
            await asyncio.sleep(gap_s)
        turn.is_last = close

    return Behaviour(act)


def status(
    code: int = 200, *, headers: Headers = (), body: bytes = b"", retry_after: str | None = None
) -> Behaviour:
    """A proper answer."""
    fields = list(headers)
    if retry_after is not None:
        fields.append(("retry-after", retry_after))
    return raw(response(code, headers=fields, body=body))


def redirect(location: str, code: int = 302) -> Behaviour:
    return status(code, headers=[("location", location)])


def answer_and_close(code: int = 200, *, body: bytes = b"") -> Behaviour:
    """An answer that says that it is the connection's last."""
    return raw(response(code, headers=[("connection", "close")], body=body), close=True)


def close_idle(code: int = 200) -> Behaviour:
    """A proper answer, and then the connection is closed without a word."""
    return raw(response(code), close=True)


def until_close(code: int = 200, *, body: bytes = b"", version: str = "1.1") -> Behaviour:
    """A body whose length only the end of the connection tells."""
    return raw(f"HTTP/{version} {code} Reason\r\n\r\n".encode() + body, close=True)


def chunked(*chunks: bytes, code: int = 200, trailer: bytes = b"") -> Behaviour:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return raw(
        response(code, headers=[("transfer-encoding", "chunked")])
        + body
        + (b"0\r\n" + trailer + b"\r\n")
    )


def chunked_garbage() -> Behaviour:
    return raw(response(headers=[("transfer-encoding", "chunked")]) + b"xyz\r\nbody\r\n0\r\n\r\n")


def two_responses(first: int = 200, second: int = 200) -> Behaviour:
    """Two answers to one request, in one write."""
    return raw(response(first, body=b"first") + response(second, body=b"second"))


def interim(*codes: int, then: int = 200) -> Behaviour:
    """Interim responses before the real one."""
    heads = b"".join(f"HTTP/1.1 {code} Interim\r\n\r\n".encode() for code in codes)
    return raw(heads + response(then))


def short_body(code: int = 200) -> Behaviour:
    """A body that ends before its Content-Length."""
    return raw(response(code, headers=[("content-length", "100")], body=b"short"), close=True)


def long_body(code: int = 200) -> Behaviour:
    """A body that goes on after its Content-Length."""
    return raw(response(code, headers=[("content-length", "5")], body=b"longer than that"))


def big_body(size: int, code: int = 200) -> Behaviour:
    return status(code, body=b"x" * size)


def endless_body(code: int = 200) -> Behaviour:
    """A body without an end, as fast as it is taken."""

    async def act(turn: Turn) -> None:
        turn.is_last = True
        await turn.write(response(code, headers=[("transfer-encoding", "chunked")]))
        while not turn.writer.is_closing():
            await turn.write(b"400\r\n" + b"x" * 1024 + b"\r\n")

    return Behaviour(act)


def endless_head() -> Behaviour:
    """A head without an end, as fast as it is taken."""

    async def act(turn: Turn) -> None:
        turn.is_last = True
        await turn.write(b"HTTP/1.1 200 OK\r\n")
        while not turn.writer.is_closing():
            await turn.write(b"x-filler: " + b"x" * 1000 + b"\r\n")

    return Behaviour(act)


def drip(data: bytes | None = None, gap_s: float = 0.01) -> Behaviour:
    """One byte at a time."""
    data = response(body=b"ok") if data is None else data
    return raw(*(data[n : n + 1] for n in range(len(data))), gap_s=gap_s)


def headers_then_stop(code: int = 200) -> Behaviour:
    """The head of an answer whose body never comes."""

    async def act(turn: Turn) -> None:
        await turn.write(response(code, headers=[("content-length", "5")]))
        await turn.hang()

    return Behaviour(act)


def hang() -> Behaviour:
    """Reads the request and says nothing."""
    return Behaviour(Turn.hang)


def silence() -> Behaviour:
    """Takes the connection and does not even read."""

    async def act(turn: Turn) -> None:
        turn.is_last = True
        await asyncio.Event().wait()

    return Behaviour(act, before_request=True)


def reset_before_request() -> Behaviour:
    """Resets as soon as something comes, without having read it."""

    async def act(turn: Turn) -> None:
        turn.reset()

    return Behaviour(act, before_request=True)


def reset_after_request() -> Behaviour:
    """Reads the request and resets."""

    async def act(turn: Turn) -> None:
        turn.reset()

    return Behaviour(act)


def close_after_request() -> Behaviour:
    """Reads the request and closes in an orderly way."""
    return raw(close=True)


def reset_in_body(code: int = 200) -> Behaviour:
    """Resets in the middle of the answer, after the other side has seen the first half."""

    async def act(turn: Turn) -> None:
        await turn.write(response(code, headers=[("content-length", "100")], body=b"half"))
        await asyncio.sleep(0.03)
        turn.reset()

    return Behaviour(act)


def banner(data: bytes) -> Behaviour:
    """Speaks before it is asked, as other protocols do."""

    async def act(turn: Turn) -> None:
        await turn.write(data)
        await turn.hang()

    return Behaviour(act, before_request=True)


def gated(gate: asyncio.Event, behaviour: Behaviour | None = None) -> Behaviour:
    """Reads the request, waits for the gate, then behaves."""
    inner = behaviour or status()

    async def act(turn: Turn) -> None:
        await gate.wait()
        await inner.act(turn)

    return Behaviour(act)


def then(*behaviours: Behaviour) -> Behaviour:
    """Several behaviours for the same request."""

    async def act(turn: Turn) -> None:
        for behaviour in behaviours:
            await behaviour.act(turn)

    return Behaviour(act)


class Receiver:
    """A server on loopback that follows a script; use it as an async context manager."""

    def __init__(
        self,
        *script: Behaviour,
        default: Behaviour | None = None,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.script = deque(script)
        self.default = default or status()
        self.requests: list[Request] = []
        self.connections = 0
        self.port = 0
        self._host = host
        self._tls = tls
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}/hook"

    @property
    def open_connections(self) -> int:
        return len(self._open)

    def drop_connections(self) -> None:
        """Close all that are open, as a server does that restarts."""
        for writer in self._open.values():
            writer.close()

    async def __aenter__(self) -> "Receiver":
        self._server = await asyncio.start_server(self._serve, self._host, self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        try:
            # Cancelled is what `__aexit__` does to those that are still at it.
            with contextlib.suppress(
                ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError
            ):
                while await self._take_turn(reader, writer, number):
                    pass
        finally:
            del self._open[task]
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
                await writer.wait_closed()

    async def _take_turn(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> bool:
        if self.script and self.script[0].before_request:
            turn = Turn(reader, writer, None)
            await self.script.popleft().act(turn)
            return not turn.is_last
        request = await _read_request(reader, number)
        if request is None:
            return False
        self.requests.append(request)
        turn = Turn(reader, writer, request)
        behaviour = self.script.popleft() if self.script else self.default
        await behaviour.act(turn)
        return not turn.is_last


async def _read_request(reader: asyncio.StreamReader, number: int) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    method, target, _ = first.split(" ")
    return Request(method, target, headers, body, number)


@contextlib.contextmanager
def refusing_port():
    """A port of loopback on which nobody listens, and nobody else can meanwhile."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]
