"""A body read line by line: of any length, in bounded memory."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

from starlette.types import Message, Receive

from app.api.body import chunk
from app.api.problems import BODY_TIMEOUT, Problem


class Line(NamedTuple):
    """`number` counts from 1, blank lines included. `text` None: longer than allowed."""

    number: int
    text: bytes | None


class LineSplitter:
    """Cuts chunks into lines. Keeps at most one unfinished line, and of a too long one nothing."""

    def __init__(self, line_bytes_max: int) -> None:
        self._line_bytes_max = line_bytes_max
        self._number = 1
        self._rest = b""
        self._is_too_long = False

    def feed(self, data: bytes) -> Iterator[Line]:
        """The lines that `data` completes, blank ones left out."""
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            yield from self._finish(data[start:end])
            start = end + 1
        self._keep(data[start:])

    def end(self) -> Iterator[Line]:
        """The last line, if it had no end."""
        yield from self._finish(b"")

    def _keep(self, part: bytes) -> None:
        if self._is_too_long:
            return
        self._rest += part
        if len(self._rest) > self._line_bytes_max + 1:  # a carriage return may be its last byte
            self._rest = b""
            self._is_too_long = True

    def _finish(self, part: bytes) -> Iterator[Line]:
        self._keep(part)
        text = self._rest.strip()
        too_long = self._is_too_long or len(text) > self._line_bytes_max
        number = self._number
        self._number, self._rest, self._is_too_long = number + 1, b"", False
        if too_long:
            yield Line(number, None)
        elif text:
            yield Line(number, text)


class Lines:
    """The lines of a request's body."""

    def __init__(self, receive: Receive, *, line_bytes_max: int, timeout_s: float) -> None:
        self._receive = receive
        self._splitter = LineSplitter(line_bytes_max)
        self._timeout_s = timeout_s

    async def batches(self, size: int) -> AsyncIterator[list[Line]]:
        """Lines, `size` at a time. Raises a `Problem` when nothing comes for the time limit."""
        batch: list[Line] = []
        more = True
        while more:
            message = await self._next()
            more = message.get("more_body", False)
            for line in self._lines(chunk(message), more):
                batch.append(line)
                if len(batch) == size:
                    yield batch
                    batch = []
        if batch:
            yield batch

    async def _next(self) -> Message:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._receive()
        except TimeoutError:
            detail = f"Nothing came for {self._timeout_s:g} s."
            raise Problem(BODY_TIMEOUT, detail) from None

    def _lines(self, data: bytes, more: bool) -> Iterator[Line]:
        yield from self._splitter.feed(data)
        if not more:
            yield from self._splitter.end()
