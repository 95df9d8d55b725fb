"""Calls to the api over kept connections: cheap enough to post with, bounded in connections."""

import asyncio
import ssl
from collections import deque
from typing import Any, NamedTuple, Self, cast
from urllib.parse import urlsplit

import httptools

from app.errors import CommandFailed

ANSWER_MAX_S = 30.0


class Answer(NamedTuple):
    status: int
    body: bytes


class Caller:
    """`async with Caller(url, key, connections_max)`. Calls beyond the connections wait in turn."""

    def __init__(self, url: str, key: str, connections_max: int) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CommandFailed(f"{url!r} is no URL such as http://127.0.0.1:8000")
        self._host = parts.hostname
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._prefix = parts.path.rstrip("/")
        self._head = (
            f"host: {parts.netloc}\r\nauthorization: Bearer {key}\r\naccept: application/json\r\n"
        )
        self._turn = asyncio.Semaphore(connections_max)
        self._idle: deque[_Connection] = deque()
        self._open: set[_Connection] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in list(self._open):
            connection.cut()

    async def call(
        self, method: str, path: str, body: bytes = b"", media_type: str = "application/json"
    ) -> Answer:
        """Raises OSError, or TimeoutError after `ANSWER_MAX_S`. Nothing is tried twice."""
        framing = f"content-type: {media_type}\r\ncontent-length: {len(body)}\r\n" if body else ""
        if not body and method != "GET":
            framing = "content-length: 0\r\n"
        head = f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._head}{framing}\r\n"
        async with self._turn:
            connection = self._take() or await self._connect()
            try:
                async with asyncio.timeout(ANSWER_MAX_S):
                    answer = await connection.exchange(head.encode() + body)
            except BaseException:
                connection.cut()
                raise
            if connection.is_reusable:
                self._idle.append(connection)
            return answer

    def _take(self) -> "_Connection | None":
        while self._idle:
            connection = self._idle.pop()
            if connection.is_reusable:
                return connection
        return None

    async def _connect(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: _Connection(self._open), self._host, self._port, ssl=self._tls
        )
        return connection


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, all_open: "set[_Connection]") -> None:
        self._all_open = all_open
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._answer: asyncio.Future[Answer] | None = None
        self._body: list[bytes] = []
        self.is_reusable = False

    async def exchange(self, request: bytes) -> Answer:
        assert self._transport is not None
        self.is_reusable = False
        self._parser = httptools.HttpResponseParser(self)
        self._body = []
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._all_open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_reusable = False
        self._all_open.discard(self)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("closed before the answer"))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self._answer is not None and not self._answer.done():
                self._answer.set_exception(ConnectionError(f"no answer in HTTP: {error}"))
            self.cut()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._answer is None or self._answer.done():
            return
        self.is_reusable = self._parser.should_keep_alive()
        self._answer.set_result(Answer(self._parser.get_status_code(), b"".join(self._body)))
