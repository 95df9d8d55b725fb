import asyncio
import math
import time
from contextlib import asynccontextmanager, suppress

import pytest

from app.domain.signature import Signer, Verdict, decode_secret, new_secret
from app.errors import BadSecret
from app.receiver import Plan, Receiver
from app.receiver.connection import BODY_MAX, HEAD_MAX
from tests.wait import wait_until

SECRET = new_secret(lambda size: bytes(range(size)))
OTHER = new_secret(lambda size: bytes(size))
ACCEPTS = Plan()
BODY = (
    b'{"type":"post.created","recipient":"bob","offset":3,"data":{"post":{"data":{"text":"hi"}}}}'
)


def request(body=BODY, secret=SECRET, id_="d-1", path="/hook", **headers):
    now = str(int(time.time())).encode()
    lines = {
        "host": "localhost",
        "webhook-id": id_,
        "webhook-timestamp": now.decode(),
        "moments-attempt": "2",
        "content-length": str(len(body)),
        **headers,
    }
    if secret:
        signer = Signer([decode_secret(secret)])
        lines["webhook-signature"] = signer.sign(id_.encode(), now, body).decode()
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


@asynccontextmanager
async def receiving(*secrets, plan=ACCEPTS, seed=None):
    seen = []
    receiver = Receiver(secrets, plan, seen.append, seed)
    port = await receiver.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    receiver.seen = seen

    async def send(data):
        writer.write(data)
        return await status(reader)

    try:
        yield receiver, send, reader, writer
    finally:
        writer.close()
        await receiver.stop()


async def status(reader):
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
    return int(head.split()[1])


async def test_a_signed_request_is_verified_and_accepted():
    async with receiving(SECRET) as (receiver, send, *_):
        assert await send(request()) == 204
    (got,) = receiver.seen
    assert (got.verdict, got.id, got.attempt, got.method) == (Verdict.VALID, "d-1", "2", "POST")
    assert got.event()["data"]["post"]["data"] == {"text": "hi"}
    assert got.body == BODY


async def test_one_of_several_secrets_is_enough():
    async with receiving(OTHER, SECRET) as (receiver, send, *_):
        assert await send(request()) == 204
        assert await send(request(secret=OTHER)) == 204
    assert all(got.verdict for got in receiver.seen)


@pytest.mark.parametrize(
    ("sent", "verdict"),
    [
        (request(secret=OTHER), Verdict.NO_MATCH),
        (request(secret=None), Verdict.HEADER_MISSING),
        (request().replace(b"hi", b"ho"), Verdict.NO_MATCH),
    ],
)
async def test_what_is_not_signed_with_the_secret_is_refused_and_says_why(sent, verdict):
    async with receiving(SECRET) as (receiver, send, *_):
        assert await send(sent) == 401
    assert [got.verdict for got in receiver.seen] == [verdict]


async def test_without_a_secret_nothing_is_judged():
    async with receiving() as (receiver, send, *_):
        assert await send(request()) == 204
    assert receiver.seen[0].verdict is None


async def test_an_id_that_was_accepted_before_is_a_duplicate():
    async with receiving(SECRET) as (receiver, send, *_):
        for id_ in ("a", "b", "a"):
            await send(request(id_=id_))
    assert [got.duplicate for got in receiver.seen] == [False, False, True]
    assert receiver.tally.duplicates == 1


async def test_the_first_attempts_of_each_delivery_fail_when_told_so():
    async with receiving(SECRET, plan=Plan(fail_first=2, status=500)) as (_, send, *_):
        assert [await send(request(id_=id_)) for id_ in ("a", "b")] == [500, 500]
    async with receiving(SECRET, plan=Plan(fail_first=1, status=500)) as (_, send, *_):
        assert await send(request()) == 204  # the second attempt


async def test_a_receiver_that_never_answers_sees_when_the_sender_gives_up():
    plan = Plan(delay_s=math.inf)
    async with receiving(plan=plan) as (receiver, _, _, writer):
        writer.write(request())
        await wait_until(lambda: receiver.seen)
        assert receiver.open_connections == 1
        writer.close()
        await wait_until(lambda: not receiver.open_connections)


async def test_a_retry_of_what_was_not_accepted_is_no_duplicate():
    async with receiving(plan=Plan(fail=1)) as (receiver, send, *_):
        assert await send(request()) == 503
        receiver.plan = Plan()
        assert await send(request()) == 204
    assert [got.duplicate for got in receiver.seen] == [False, False]


async def test_a_share_of_the_requests_fails_and_the_same_ones_with_the_same_seed():
    runs = []
    for _ in range(2):
        async with receiving(plan=Plan(fail=0.3, status=500), seed=7) as (_, send, *_):
            runs.append([await send(request(id_=str(number))) for number in range(200)])
    assert runs[0] == runs[1]
    assert 30 <= runs[0].count(500) <= 90
    assert set(runs[0]) == {204, 500}


async def test_another_path_is_not_found():
    async with receiving(plan=Plan(path="/hook")) as (_, send, *_):
        assert await send(request(path="/hook?x=1")) == 204
        assert await send(request(path="/other")) == 404


async def test_an_answer_waits_as_long_as_told():
    async with receiving(plan=Plan(delay_s=0.1)) as (_, send, *_):
        began = time.monotonic()
        assert await send(request()) == 204
        # The loop counts in whole milliseconds, from when it last looked at its clock.
        assert time.monotonic() - began >= 0.095


@pytest.mark.parametrize("delay_s", [0.0, 0.001])
async def test_requests_sent_in_one_go_are_answered_in_their_order(delay_s):
    plan = Plan(delay_s=delay_s, path="/hook")
    async with receiving(plan=plan) as (receiver, _, reader, writer):
        paths = ["/hook", "/other", "/hook", "/other", "/other"] * 10
        writer.write(b"".join(request(path=path) for path in paths))
        got = [await status(reader) for _ in paths]
    assert got == [204 if path == "/hook" else 404 for path in paths]
    assert receiver.tally.requests == 50


async def test_thousands_of_requests_in_one_read_survive_a_delay_that_is_lifted():
    async with receiving(plan=Plan(delay_s=0.05)) as (receiver, _, reader, writer):
        small = b"GET / HTTP/1.1\r\n\r\n"
        writer.write(small * 5_000)
        await status(reader)
        receiver.plan = Plan()
        for _ in range(4_999):
            await status(reader)


async def test_a_request_in_many_pieces_is_one_request():
    async with receiving(SECRET) as (receiver, _, reader, writer):
        raw = request()
        for start in range(0, len(raw), 7):
            writer.write(raw[start : start + 7])
            await writer.drain()
        assert await status(reader) == 204
    assert receiver.seen[0].target == "/hook"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (BODY_MAX + 1) + b"x" * 1024**2, 413),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * (HEAD_MAX + 1) + b"\r\n\r\n", 431),
    ],
)
async def test_what_is_no_request_or_too_large_is_refused_and_cut(raw, expected):
    async with receiving() as (receiver, send, reader, _):
        assert await send(raw + b"x" * 100) == expected
        with suppress(ConnectionResetError):  # what it had not read yet is refused by the kernel
            assert await reader.read() == b""
    assert receiver.seen == []


CHALLENGE = b'{"type":"endpoint.verify","data":{"challenge":"x","endpoint":"e"}}'


async def test_a_signed_challenge_is_echoed_when_told_so_and_no_other():
    async with receiving(SECRET, plan=Plan(fail=1.0)) as (receiver, send, reader, _):
        assert await send(request(CHALLENGE)) == 503
        receiver.echoes = True
        assert await send(request(CHALLENGE, OTHER)) == 401
        assert await send(request(CHALLENGE, path="/hook?a=b")) == 200
        assert await reader.readexactly(18) == b'{"challenge": "x"}'
        assert [one.behaviour for one in receiver.seen] == ["", "", "echo"]
        assert await send(request(BODY)) == 503


async def test_a_query_is_the_event_of_a_request_without_a_body():
    async with receiving() as (receiver, send, *_):
        raw = b"GET /hook?type=post.created&recipient=bob&offset=3 HTTP/1.1\r\n\r\n"
        assert await send(raw) == 204
    assert receiver.seen[0].event() == {
        "type": "post.created",
        "recipient": "bob",
        "offset": "3",
    }
    assert receiver.seen[0].path == "/hook"


async def test_a_body_that_is_no_object_is_no_event():
    async with receiving() as (receiver, send, *_):
        await send(request(body=b"[1]"))
        await send(request(body=b"\xff"))
    assert [got.event() for got in receiver.seen] == [{}, {}]


def test_a_secret_that_is_none_is_refused_before_anything_listens():
    with pytest.raises(BadSecret):
        Receiver(["whsec_!"])


async def test_stopping_cuts_what_is_open_and_frees_the_port():
    async with receiving(plan=Plan(delay_s=30)) as (receiver, _, reader, writer):
        writer.write(request())
        await wait_until(lambda: receiver.seen)
        await receiver.stop()
        assert await reader.read() == b""
        assert not receiver.open_connections
