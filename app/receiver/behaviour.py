"""Behaviours: what a receiver does with one request, or with a connection before there is one.

A behaviour is an async function of the `Turn`, which holds the request and writes the answer. It
is cancelled when the other side has gone. Here are those of receivers that keep to the protocol;
`misbehaviour` has the others.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Protocol

from app.domain.challenge import echo_of
from app.receiver.answer import Headers, response
from app.receiver.received import Received

_JSON = (("content-type", "application/json"),)


class Turn(Protocol):
    """One request's turn on a connection; a behaviour that sets `is_last` ends the connection."""

    is_last: bool

    @property
    def received(self) -> Received | None:
        """The request; None as long as there is none."""
        ...

    async def write(self, data: bytes) -> None:
        """Returns when the other side takes more."""
        ...

    def reset(self) -> None:
        """Closes so that the other side sees a reset (RST), not an orderly end (FIN)."""
        ...

    def stop_reading(self) -> None:
        """What is sent stays in the kernel, and an end of the connection goes unnoticed."""
        ...

    def refuse(self, for_s: float) -> None:
        """Nobody can connect for so long."""
        ...


@dataclass(frozen=True, slots=True)
class Behaviour:
    """`status` is that of a whole answer, 0 when there is none. With `before_request` it takes a
    connection over before a request has come. With an `answer` that is all that `act` writes, so
    that it need not be awaited; with `closes` the connection ends behind it."""

    act: Callable[[Turn], Awaitable[None]]
    name: str
    status: int = 0
    before_request: bool = False
    answer: bytes | None = None
    closes: bool = False


def raw(
    *parts: bytes, close: bool = False, gap_s: float = 0.0, name: str = "raw", status: int = 0
) -> Behaviour:
    """Writes these bytes one after the other, `gap_s` apart, and perhaps closes then."""

    async def act(turn: Turn) -> None:
        for part in parts:
            await turn.write(part)
            if gap_s:
                await asyncio.sleep(gap_s)
        turn.is_last = close

    answer = parts[0] if len(parts) == 1 and not gap_s else None
    return Behaviour(act, name, status, answer=answer, closes=close)


def status(
    code: int = 200, *, headers: Headers = (), body: bytes = b"", retry_after: str | None = None
) -> Behaviour:
    """A proper answer."""
    fields = list(headers)
    if retry_after is not None:
        fields.append(("retry-after", retry_after))
    answer = response(code, headers=fields, body=body)
    return raw(answer, name=f"status={code}", status=code)


def echo(challenge: str) -> Behaviour:
    """The answer by which a receiver shows that it wants what is sent to it."""
    body = echo_of(challenge)
    return raw(response(headers=_JSON, body=body), name="echo", status=200)


def retry_after_date(code: int, after_s: float) -> Behaviour:
    """An answer that names the date of the next try: so many seconds from when it is given."""

    async def act(turn: Turn) -> None:
        at = datetime.now(UTC) + timedelta(seconds=after_s)
        date = format_datetime(at.replace(microsecond=0), usegmt=True)
        await turn.write(response(code, headers=[("retry-after", date)]))

    return Behaviour(act, f"retry-date={after_s:g}", code)


def redirect(location: str, code: int = 302) -> Behaviour:
    answer = response(code, headers=[("location", location)])
    return raw(answer, name="redirect", status=code)


def answer_and_close(code: int = 200, *, body: bytes = b"") -> Behaviour:
    """An answer that says that it is the connection's last."""
    answer = response(code, headers=[("connection", "close")], body=body)
    return raw(answer, close=True, name="close", status=code)


def until_close(code: int = 200, *, body: bytes = b"", version: str = "1.1") -> Behaviour:
    """A body whose length only the end of the connection tells."""
    answer = f"HTTP/{version} {code} Reason\r\n\r\n".encode() + body
    return raw(answer, close=True, name="until-close", status=code)


def chunked(*chunks: bytes, code: int = 200, trailer: bytes = b"") -> Behaviour:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    head = response(code, headers=[("transfer-encoding", "chunked")])
    return raw(head + body + b"0\r\n" + trailer + b"\r\n", name="chunked", status=code)


def gated(gate: asyncio.Event, behaviour: Behaviour | None = None) -> Behaviour:
    """Waits for the gate, then behaves."""
    inner = behaviour or status()

    async def act(turn: Turn) -> None:
        await gate.wait()
        await inner.act(turn)

    return Behaviour(act, f"gated {inner.name}", inner.status)


def then(*behaviours: Behaviour) -> Behaviour:
    """Several behaviours for the same request."""

    async def act(turn: Turn) -> None:
        for behaviour in behaviours:
            await behaviour.act(turn)

    return Behaviour(act, ", then ".join(one.name for one in behaviours), behaviours[-1].status)
