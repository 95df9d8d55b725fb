"""What the other side of a badly behaving receiver sees, byte by byte."""

import asyncio
import email.utils
import random
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.errors import Rejected
from app.receiver import Behaviour, Plan, Receiver, Turn
from app.receiver.behaviour import retry_after_date, status
from app.receiver.catalogue import ALL, BIG_BODY_BYTES, FORBIDDEN, NAMES, behaviours
from app.receiver.misbehaviour import BOMB_BYTES, drip, refuse
from tests.wait import wait_until

REQUEST = b"POST /hook HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}"
CUT = b"<reset>"


@asynccontextmanager
async def receiving(*script: Behaviour, **options) -> AsyncIterator[Receiver]:
    async with Receiver(script=script, **options) as receiver:
        yield receiver


async def ask(receiver: Receiver, limit_s: float = 5.0) -> bytes:
    """All that comes for one request until the connection ends; with `CUT` when that is reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    writer.write(REQUEST)
    got = b""
    try:
        async with asyncio.timeout(limit_s):
            while data := await reader.read(65_536):
                got += data
    except ConnectionResetError:
        got += CUT
    except TimeoutError:
        pass
    finally:
        writer.close()
    return got


def named(word: str) -> Behaviour:
    (found,) = behaviours(word)
    return found


@pytest.mark.parametrize(
    ("word", "start", "end"),
    [
        ("status=418", b"HTTP/1.1 418 I'm a Teapot\r\n", b"\r\n\r\n"),
        ("retry-after=7", b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\n", b"\r\n\r\n"),
        ("stop-after-head", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", b"\r\n\r\n"),
        ("hang", b"", b""),
        ("silence", b"", b""),
        ("short-body", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n", b"\r\n\r\nshort"),
        ("long-body", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", b"\r\n\r\nlonger than that"),
        ("chunked", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no", b"0\r\n\r\n"),
        ("chunked-garbage", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked", b"0\r\n\r\n"),
        ("until-close", b"HTTP/1.1 200 Reason\r\n\r\n", b"ok"),
        ("two-responses", b"HTTP/1.1 200 OK", b"second"),
        ("interim", b"HTTP/1.1 100 Interim\r\n\r\nHTTP/1.1 102", b"content-length: 0\r\n\r\n"),
        ("banner", b"220 mail.example ESMTP\r\n", b"\r\n"),
        ("close", b"HTTP/1.1 200 OK\r\nconnection: close\r\n", b"\r\n\r\n"),
        ("close-idle", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"\r\n\r\n"),
        ("close-unanswered", b"", b""),
        ("reset-before-request", CUT, CUT),
        ("reset-before-response", CUT, CUT),
        ("reset-in-response", b"HTTP/1.1 200 OK\r\n", b"half" + CUT),
        ("reset-after-response", b"HTTP/1.1 200 OK\r\n", b"\r\n\r\n" + CUT),
        ("redirect", b"HTTP/1.1 302 Found\r\nlocation: " + FORBIDDEN.encode(), b"\r\n\r\n"),
    ],
)
async def test_each_behaviour_is_seen_on_the_wire(word, start, end):
    async with receiving(named(word)) as receiver:
        got = await ask(receiver, limit_s=0.1)
    assert got.startswith(start)
    assert got.endswith(end)


async def test_a_large_body_comes_in_whole():
    async with receiving(named("big-body")) as receiver:
        reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
        writer.write(REQUEST)
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(BIG_BODY_BYTES) == b"x" * BIG_BODY_BYTES
        writer.close()


async def test_a_gzip_bomb_is_small_on_the_wire_and_large_unpacked():
    async with receiving(named("gzip-bomb")) as receiver:
        head, _, body = (await ask(receiver, limit_s=0.5)).partition(b"\r\n\r\n")
    assert b"content-encoding: gzip" in head
    assert len(body) < 16 * 1024
    assert len(zlib.decompress(body, wbits=31)) == BOMB_BYTES


@pytest.mark.parametrize("word", ["endless-body", "endless-head"])
async def test_what_has_no_end_goes_on_as_long_as_it_is_read_and_then_stops(word):
    async with receiving(named(word)) as receiver:
        assert len(await ask(receiver, limit_s=0.2)) > 256 * 1024
        await wait_until(lambda: not receiver.open_connections)


async def test_a_drip_is_a_byte_at_a_time():
    async with receiving(drip(b"abcdef", gap_s=0.02)) as receiver:
        began = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
        writer.write(REQUEST)
        assert [await reader.read(100) for _ in range(6)] == [b"%c" % c for c in b"abcdef"]
        assert time.monotonic() - began > 0.09
        writer.close()


async def test_a_date_of_the_next_try_is_counted_from_the_answer():
    async with receiving(retry_after_date(503, 3600)) as receiver:
        got = await ask(receiver, limit_s=0.2)
    date = got.partition(b"retry-after: ")[2].partition(b"\r\n")[0].decode()
    assert 3590 < email.utils.parsedate_to_datetime(date).timestamp() - time.time() <= 3600


async def test_who_is_refused_cannot_connect_until_the_time_is_over():
    async with receiving(refuse(for_s=0.2), default=status(200)) as receiver:
        assert await ask(receiver) == CUT
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", receiver.port)

        async def is_back() -> bool:
            try:
                return (await ask(receiver, limit_s=0.1)).startswith(b"HTTP/1.1 200")
            except ConnectionRefusedError:
                return False

        await wait_until(is_back)


async def test_a_receiver_that_refuses_can_be_stopped():
    async with receiving(refuse(for_s=60)) as receiver:
        await ask(receiver)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", receiver.port)


async def test_what_is_drawn_is_the_same_for_the_same_seed_and_all_of_it_is_drawn():
    words = "status=500,short-body,ok,close-unanswered"
    runs = []
    for seed in (7, 7, 8):
        plan = Plan(fail=1.0, behaviours=behaviours(words))
        seen = []
        async with Receiver(plan=plan, seed=seed, on_request=seen.append) as receiver:
            for _ in range(24):
                await ask(receiver, limit_s=0.02)
        runs.append([one.behaviour for one in seen])
    assert runs[0] == runs[1] != runs[2]
    # Accepting is no behaviour to speak of.
    assert set(runs[0]) == {"status=500", "short-body", "status=204", "close-unanswered"}


async def test_a_share_may_behave_and_the_rest_not():
    plan = Plan(fail=0.5, behaviours=behaviours("status=500"))
    async with Receiver(plan=plan, seed=1) as receiver:
        got = [(await ask(receiver, limit_s=0.01))[9:12] for _ in range(20)]
    assert {b"204", b"500"} == set(got)


async def test_a_connection_may_be_taken_over_between_two_requests():
    script = status(200), named("reset-before-request")
    async with receiving(*script) as receiver:
        reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
        writer.write(REQUEST)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_requests_sent_in_one_go_meet_one_behaviour_after_the_other():
    script = drip(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", gap_s=0.001), status(201)
    async with receiving(*script) as receiver:
        reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
        writer.write(REQUEST * 2)
        heads = [await reader.readuntil(b"\r\n\r\n") for _ in range(2)]
        assert [head[9:12] for head in heads] == [b"200", b"201"]
        writer.close()


async def test_a_client_that_asks_for_it_is_the_last_of_its_connection_however_it_is_answered():
    async with receiving(default=status(200)) as receiver:
        reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
        writer.write(REQUEST.replace(b"host:", b"connection: close\r\nhost:"))
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_a_behaviour_that_fails_is_reported_and_ends_its_connection():
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    async def act(_: Turn) -> None:
        raise ZeroDivisionError

    async with receiving(Behaviour(act, "broken")) as receiver:
        assert await ask(receiver) in (b"", CUT)
    assert isinstance(complaints[0]["exception"], ZeroDivisionError)


async def test_all_of_them_at_once_leave_nothing_behind():
    """Many clients, some of whom go early, and a receiver that does whatever is drawn."""
    before = asyncio.all_tasks()
    clients = random.Random(1)
    plan = Plan(fail=1.0, behaviours=behaviours(",".join(set(ALL) - {"refuse"})))
    async with Receiver(plan=plan, seed=7) as receiver:

        async def client() -> None:
            await ask(receiver, limit_s=clients.uniform(0, 0.2))

        for _ in range(5):
            await asyncio.gather(*(client() for _ in range(40)))
        assert len(receiver.tally.behaviours) > 10
    assert receiver.open_connections == 0
    assert asyncio.all_tasks() == before


def test_every_name_stands_for_a_behaviour_and_all_for_each_of_them():
    assert [behaviours(name)[0].name for name in NAMES if name != "ok"] == list(NAMES[1:])
    everything = behaviours("all")
    assert {one.name for one in everything} > set(NAMES[1:])
    assert [one.name for one in behaviours(" drip , all,")[1:]] == [one.name for one in everything]


@pytest.mark.parametrize(
    "words",
    ["", ",", "no-such", "drip=2", "status", "status=", "status=99", "status=600", "retry-after=x"],
)
def test_a_name_that_is_none_is_refused_and_says_what_there_is(words):
    with pytest.raises(Rejected, match=r"name at least one|there are ok|needs a whole number"):
        behaviours(words)
