"""Whatever a receiver answers, the sender's client comes to an outcome and takes no harm."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

import h11
import pytest
from hypothesis import event, example, given

from app.domain.address import Url, parse_url
from app.domain.attempt import Outcome
from app.guard import Guard
from app.receiver.behaviour import Behaviour, Turn
from tests.fuzz.amount import tried
from tests.fuzz.answers import WHOLE, Sent, sent
from tests.receivers import Receiver
from workers.http.client import Client
from workers.http.connection import Connection
from workers.http.dialer import Dialer
from workers.http.exchange import Exchange
from workers.http.limits import Limits
from workers.http.pool import Pool

URL = parse_url("http://127.0.0.1:9000/hook")
REQUEST = b"POST /hook HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
CODINGS = re.compile(rb"(?im)^transfer-encoding:([^\r\n]*)")
EMPTY_LINES = re.compile(rb"(?:\A|(?<=\r\n\r\n))[\r\n]+(?=HTTP/1\.)")
BODILESS = re.compile(rb"(?m)^HTTP/1\.[01] (?:1..|204|304)")
UNKNOWN_CODING = 501  # h11's hint
STATUS_LINE = re.compile(rb"(?m)^(HTTP/1\.[01] [0-9]{3} ?)([^\r\n]*)")
SECOND = b"HTTP/1.1 207 X\r\nContent-Length: 6\r\n\r\nsecond"
LIMITS = Limits(excerpt_bytes_max=16, head_bytes_max=1_024, body_bytes_max=512)


class Wire(asyncio.Transport):
    """The client's end of a connection; the test is the other one."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_cut = False

    def write(self, data: Any) -> None:
        self.written += data

    def abort(self) -> None:
        self.is_cut = True

    def close(self) -> None:
        self.is_cut = True


class Wires(Dialer):
    """Connects at once, each time to a new wire."""

    def __init__(self) -> None:
        self.made: list[tuple[Connection, Wire]] = []

    async def dial(self, url: Any, connection: Connection, deadline: float) -> None:
        wire = Wire()
        self.made.append((connection, wire))
        connection.connection_made(wire)


@dataclass
class Caller:
    wires: Wires = field(default_factory=Wires)
    outcomes: list[Outcome] = field(default_factory=list)
    pool: Pool = field(init=False)

    def __post_init__(self) -> None:
        self.pool = Pool(self.wires, LIMITS)

    async def send(self) -> None:
        self.pool.submit(Exchange(self.pool, URL, REQUEST, self.outcomes.append, 15.0))
        await asyncio.gather(*self.pool._dials)


def feed(connection: Connection, data: bytes) -> None:
    connection.get_buffer(-1)[: len(data)] = data
    connection.buffer_updated(len(data))


def lose(connection: Connection, wire: Wire, error: Exception | None = None) -> None:
    if connection.is_up:
        wire.is_cut = True
        connection.connection_lost(error)


@given(answer=sent())
@example(Sent([b"HTTP/1.1 104 X\r\nContent-Length: 1\r\n\r\n", b"?"], "wait"))
@example(Sent([b"HTTP/1.1 104 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SECOND], "wait"))
@tried(400)
async def test_any_answer_comes_to_one_outcome(answer: Sent):
    caller = Caller()
    await caller.send()
    [(connection, wire)] = caller.wires.made
    for piece in answer.pieces:
        if wire.is_cut:
            break
        feed(connection, piece)
    if not wire.is_cut and answer.end == "eof":
        connection.eof_received()
    if not wire.is_cut and answer.end == "reset":
        lose(connection, wire, ConnectionResetError())
    if not caller.outcomes:
        caller.pool._sweep(float("inf"))
    [outcome] = caller.outcomes
    is_kept = not wire.is_cut
    event(f"{outcome.failure or outcome.status // 100} {is_kept}")
    assert (outcome.status == 0 and outcome.failure) or 200 <= outcome.status <= 599
    assert outcome.excerpt == b"" or outcome.status
    assert len(outcome.excerpt) <= LIMITS.excerpt_bytes_max
    assert outcome.excerpt in answer.whole or b"chunked" in answer.whole.lower()
    assert isinstance(outcome.retry_after, str | None)
    if is_kept:
        assert outcome.failure is None
        assert is_one_whole_answer(answer.whole), answer.whole
        await caller.send()
        assert len(caller.wires.made) == 1
        feed(connection, SECOND)
        assert (caller.outcomes[1].status, caller.outcomes[1].excerpt) == (207, b"second")
    assert outcome.failure is None or answer.whole not in WHOLE
    lose(connection, wire)
    await caller.pool.close(0)
    stats = caller.pool.stats
    assert (stats.open, stats.idle, stats.in_flight, stats.waiting) == (0, 0, 0, 0)


@dataclass
class Counterpart:
    """A receiver that answers as told, once, and from then on as it should; and its client."""

    client: Client
    url: Url
    answers: list[Sent]
    is_done: asyncio.Event  # with an answer as told
    complaints: list[Any]  # of the event loop, about errors that nobody handled


@pytest.fixture
async def counterpart() -> AsyncIterator[Counterpart]:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    answers: list[Sent] = []
    is_done = asyncio.Event()

    async def act(turn: Turn) -> None:
        if not answers:
            await turn.write(SECOND)
            return
        answer = answers.pop()
        try:
            for piece in answer.pieces:
                await turn.write(piece)
                await asyncio.sleep(0)
            if answer.end == "reset":
                turn.reset()
            turn.is_last = answer.end == "eof" or not is_one_whole_answer(answer.whole)
        finally:  # the client may have gone
            is_done.set()

    async with Receiver(default=Behaviour(act, "as told")) as receiver:
        client = Client(Guard(allow=[ip_network("127.0.0.0/8")]), limits=LIMITS)
        yield Counterpart(client, parse_url(receiver.url), answers, is_done, complaints)
        await client.close(0)


@given(answer=sent())
@tried(150)
async def test_over_a_real_connection_any_answer_harms_no_later_one(
    counterpart: Counterpart, answer: Sent
):
    client, url = counterpart.client, counterpart.url
    counterpart.is_done.clear()
    counterpart.answers.append(answer)
    first = await client.request(url, REQUEST, b"")
    assert (first.status == 0 and first.failure) or 200 <= first.status <= 599
    # What comes later than that, to a request that is under way, nobody could tell from an answer.
    async with asyncio.timeout(5):
        await counterpart.is_done.wait()
    for _ in range(5):
        await asyncio.sleep(0)
    second = await client.request(url, REQUEST, b"")
    assert (second.status, second.failure, second.excerpt) == (207, None, b"second")
    assert counterpart.complaints == []


def is_chunked_in_the_end(data: bytes) -> bool:
    """Whatever stands before it: the other reader knows only this coding, and only once."""
    codings = b",".join(CODINGS.findall(data)).lower().split(b",")
    return codings[-1].strip() == b"chunked"


def without_reason(line: re.Match[bytes]) -> bytes:
    """What stands behind a status is read by nobody, so it may be anything."""
    return line[1] + b"x" * len(line[2])


def is_one_whole_answer(data: bytes) -> bool:
    """What another reader of HTTP says: an answer that ends where the data ends, and leaves the
    connection open."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(
        h11.Request(method="POST", target="/", headers=[("host", "x"), ("content-length", "0")])
    )
    reader.send(h11.EndOfMessage())
    reader.receive_data(STATUS_LINE.sub(without_reason, EMPTY_LINES.sub(b"", data)))
    try:
        while not isinstance(found := reader.next_event(), h11.EndOfMessage):
            if found in (h11.NEED_DATA, h11.PAUSED):
                return False
            if isinstance(found, h11.Response) and found.status_code > 599:
                return False
    except h11.RemoteProtocolError as error:
        if error.error_status_hint != UNKNOWN_CODING:
            return False
        # Nor does it see that without a body a coding is of nothing.
        without = CODINGS.sub(b"x-coding:", data)
        return is_chunked_in_the_end(data) or (
            BODILESS.search(data) is not None and is_one_whole_answer(without)
        )
    # Like empty lines before an answer, those behind one can be taken for no other.
    return reader.their_state is h11.DONE and not reader.trailing_data[0].strip(b"\r\n")
