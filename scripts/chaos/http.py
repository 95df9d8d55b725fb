"""A small HTTP/1.1 client for one server: a kept connection for each call under way.

It has to cost little: whoever observes shares two cores with the observed.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

ANSWER_BYTES_MAX = 16 * 1024 * 1024


class CallLost(Exception):
    """There is no answer; what was asked may have been done."""


class Server:
    """`url` is http://HOST:PORT; `headers` go with every call."""

    def __init__(
        self, url: str, headers: Mapping[str, str], *, connect_s: float, answer_s: float
    ) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._address = (parts.hostname, parts.port)
        self._head = _lines({"host": parts.netloc, **headers})
        self._connect_s = connect_s
        self._answer_s = answer_s
        self._idle: list[_Connection] = []

    async def request(
        self, method: str, target: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """Status and body of the answer. Raises CallLost."""
        head = f"{method} {target} HTTP/1.1\r\n{self._head}{_lines(headers)}"
        data = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
        connection = await self._connection()
        try:
            async with asyncio.timeout(self._answer_s):
                connection[1].write(data)
                status, answer, may_stay = await _answer(connection[0])
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            raise CallLost("timeout" if isinstance(error, TimeoutError) else "reset") from error
        else:
            if may_stay:
                self._idle.append(connection)
                connection = None
        finally:
            if connection is not None:
                connection[1].transport.abort()
        return status, answer

    async def _connection(self) -> _Connection:
        while self._idle:
            reader, writer = self._idle.pop()
            if not (reader.at_eof() or writer.is_closing()):
                return reader, writer
            writer.transport.abort()
        try:
            async with asyncio.timeout(self._connect_s):
                return await asyncio.open_connection(*self._address)
        except (OSError, TimeoutError) as error:
            raise CallLost("no connection") from error

    async def close(self) -> None:
        for _, writer in self._idle:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def _lines(headers: Mapping[str, str]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Status, body, and whether the connection may be used again."""
    status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip()
        for name, colon, value in (line.partition(":") for line in lines)
        if colon
    }
    size = int(headers.get("content-length", 0))
    if size > ANSWER_BYTES_MAX:
        raise ValueError(f"an answer of {size} bytes")
    body = await reader.readexactly(size)
    return int(status_line.split(" ")[1]), body, headers.get("connection") != "close"
