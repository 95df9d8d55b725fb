"""The HTTP client against receivers that behave well and badly, on real sockets."""

import asyncio
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from app.domain.address import parse_url
from app.domain.attempt import Failure, Outcome
from app.errors import ClientClosed
from tests.certificates import Authority
from tests.receivers import (
    Behaviour,
    Receiver,
    answer_and_close,
    banner,
    big_body,
    chunked,
    chunked_garbage,
    close_after_request,
    close_idle,
    drip,
    endless_body,
    endless_head,
    gated,
    hang,
    headers_then_stop,
    interim,
    long_body,
    raw,
    redirect,
    refusing_port,
    reset_after_request,
    reset_before_request,
    reset_in_body,
    response,
    short_body,
    silence,
    status,
    then,
    two_responses,
    until_close,
)
from tests.wait import wait_until
from tests.workers.http.sending import BODY, MakeClient, Names, head, post
from workers.http.client import Client
from workers.http.exchange import Exchange
from workers.http.limits import Limits
from workers.http.tls import client_context

# How much later than its deadline a request may end on a busy machine.
SLACK_S = 0.4


@pytest.fixture
async def client(make_client: MakeClient) -> Client:
    return make_client()


def start(client: Client, receiver: Receiver, done: Callable[[Outcome], None], **options):
    return client.send(parse_url(receiver.url), head(), BODY, done, **options)


def failing(outcome: Outcome) -> tuple[int, Failure | None]:
    return outcome.status, outcome.failure


# Answers


async def test_a_2xx_is_a_success(client: Client):
    async with Receiver(status(202, body=b"thanks")) as receiver:
        outcome = await post(client, receiver)
    assert outcome.ok
    assert (outcome.status, outcome.failure, outcome.excerpt) == (202, None, b"thanks")
    assert 0 < outcome.duration_ms < 5000


async def test_head_and_body_arrive_as_they_were_given(client: Client):
    body = bytes(range(256)) * 400
    async with Receiver() as receiver:
        url = parse_url(receiver.url)
        assert (await client.request(url, head("/a?b=c", body), body)).ok
    (request,) = receiver.requests
    assert (request.method, request.target, request.body) == ("POST", "/a?b=c", body)
    assert request.headers == {"host": "receiver", "content-length": str(len(body))}


async def test_a_request_without_a_body_is_its_head(client: Client):
    async with Receiver() as receiver:
        url = parse_url(receiver.url)
        assert (await client.request(url, b"GET /?a=b HTTP/1.1\r\nhost: x\r\n\r\n", b"")).ok
    assert (receiver.requests[0].method, receiver.requests[0].body) == ("GET", b"")


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_failure_and_is_not_followed(client: Client, code: int):
    async with Receiver() as target, Receiver(redirect(target.url, code)) as receiver:
        outcome = await post(client, receiver)
    assert failing(outcome) == (code, None)
    assert not outcome.ok
    assert outcome.error == "http_3xx"
    assert target.requests == []


@pytest.mark.parametrize("code", [400, 404, 410, 429, 500, 503, 599])
async def test_another_status_is_an_outcome_with_that_status(client: Client, code: int):
    async with Receiver(status(code, body=b"no")) as receiver:
        outcome = await post(client, receiver)
    assert failing(outcome) == (code, None)
    assert outcome.excerpt == b"no"


@pytest.mark.parametrize("name", ["Retry-After", "retry-after", "RETRY-AFTER"])
async def test_retry_after_is_handed_on_as_it_was_sent(client: Client, name: str):
    date = "Fri, 31 Dec 1999 23:59:59 GMT"
    async with Receiver(status(503, headers=[(name, date)]), status(429)) as receiver:
        assert (await post(client, receiver)).retry_after == date
        assert (await post(client, receiver)).retry_after is None


async def test_retry_after_counts_only_in_the_head_of_the_final_answer(client: Client):
    early = b"HTTP/1.1 103 Early\r\nretry-after: 1\r\n\r\n"
    async with Receiver(
        raw(early + response(503)),
        chunked(b"retry-after: 2\r\n", code=503, trailer=b"retry-after: 3\r\n"),
    ) as receiver:
        assert [(await post(client, receiver)).retry_after for _ in range(2)] == [None, None]


async def test_the_excerpt_is_the_beginning_of_the_body(make_client: MakeClient):
    client = make_client(excerpt_bytes_max=10)
    async with Receiver(chunked(b"abc", b"defgh", b"ijklm"), big_body(5000)) as receiver:
        assert (await post(client, receiver)).excerpt == b"abcdefghij"
        assert (await post(client, receiver)).excerpt == b"x" * 10
    assert Limits().excerpt_bytes_max == 256


@pytest.mark.parametrize("code", [204, 304])
async def test_an_answer_that_never_has_a_body_leaves_the_connection_usable(
    client: Client, code: int
):
    async with Receiver(raw(response(code)), status(200)) as receiver:
        assert (await post(client, receiver)).status == code
        assert (await post(client, receiver)).ok
    assert receiver.connections == 1


@pytest.mark.parametrize("code", [204, 304])
@pytest.mark.parametrize("field", [b"content-length: 5", b"transfer-encoding: chunked"])
@pytest.mark.parametrize("body", [b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n"])
async def test_a_body_where_none_can_be_is_not_waited_for_and_not_taken_for_one(
    client: Client, code: int, field: bytes, body: bytes
):
    answer = b"HTTP/1.1 %d Reason\r\n%b\r\n\r\n%b" % (code, field, body)
    async with Receiver(raw(answer), status(201)) as receiver:
        outcome = await post(client, receiver, deadline_s=2)
        assert (failing(outcome), outcome.excerpt) == ((code, None), b"")
        assert (await post(client, receiver)).status == 201
    assert receiver.connections == (2 if body else 1)


async def test_a_chunked_answer_leaves_the_connection_usable(client: Client):
    async with Receiver(chunked(b"one", b"two", trailer=b"x-sum: 1\r\n")) as receiver:
        assert (await post(client, receiver)).excerpt == b"onetwo"
        assert (await post(client, receiver)).ok
    assert receiver.connections == 1


async def test_an_answer_may_come_byte_by_byte(client: Client):
    async with Receiver(drip(interim_and_answer(), gap_s=0.0)) as receiver:
        outcome = await post(client, receiver)
        assert (await post(client, receiver)).ok
    assert (outcome.status, outcome.excerpt) == (200, b"ok")
    assert receiver.connections == 1


def interim_and_answer() -> bytes:
    return b"HTTP/1.1 103 Early\r\nlink: </a>\r\n\r\n" + response(body=b"ok")


@pytest.mark.parametrize("behaviour", [until_close(body=b"all"), until_close(version="1.0")])
async def test_a_body_may_go_on_until_the_connection_is_closed(
    client: Client, behaviour: Behaviour
):
    async with Receiver(behaviour) as receiver:
        assert (await post(client, receiver)).ok
        assert (await post(client, receiver)).ok
    assert receiver.connections == 2


async def test_an_unknown_transfer_coding_goes_on_until_the_connection_is_closed(client: Client):
    answer = response(headers=[("transfer-encoding", "gzip")], body=b"zipped")
    async with Receiver(raw(answer, close=True)) as receiver:
        assert failing(await post(client, receiver)) == (200, None)


@pytest.mark.parametrize(
    ("answer", "connections"),
    [
        (response(headers=[("connection", "close")]), 2),
        (response(headers=[("Connection", "Close")]), 2),
        (response(version="1.0"), 2),
        (response(version="1.0", headers=[("connection", "keep-alive")]), 1),
        (response(headers=[("upgrade", "h2,h2c"), ("connection", "Upgrade, Keep-Alive")]), 1),
    ],
)
async def test_the_answer_says_whether_the_connection_is_kept(
    client: Client, answer: bytes, connections: int
):
    async with Receiver(raw(answer)) as receiver:
        assert (await post(client, receiver)).ok
        assert (await post(client, receiver)).ok
    assert receiver.connections == connections


# Limits of an answer


@pytest.mark.parametrize("behaviour", [big_body(17 * 1024), big_body(2**20), endless_body()])
async def test_a_2xx_with_too_long_a_body_is_a_success_and_the_connection_is_closed(
    client: Client, behaviour: Behaviour
):
    async with Receiver(behaviour) as receiver:
        outcome = await post(client, receiver)
        assert outcome.ok
        assert len(outcome.excerpt) == 256
        assert (await post(client, receiver)).ok
        await wait_until(lambda: receiver.open_connections == 1)
    assert receiver.connections == 2
    assert client.stats.truncated_total == 1


@pytest.mark.parametrize("code", [410, 429, 503])
async def test_an_error_page_of_any_length_keeps_its_status(client: Client, code: int):
    answer = response(code, headers=[("retry-after", "7")], body=b"x" * 100_000)
    async with Receiver(raw(answer)) as receiver:
        outcome = await post(client, receiver)
    assert failing(outcome) == (code, None)
    assert outcome.retry_after == "7"


async def test_a_body_of_exactly_the_limit_is_read_to_its_end(client: Client):
    async with Receiver(big_body(16 * 1024)) as receiver:
        assert (await post(client, receiver)).ok
        assert (await post(client, receiver)).ok
    assert receiver.connections == 1
    assert client.stats.truncated_total == 0


async def test_a_head_of_exactly_the_limit_is_read(client: Client):
    async with Receiver(raw(padded_answer(16 * 1024), response())) as receiver:
        assert (await post(client, receiver)).ok


@pytest.mark.parametrize(
    "behaviour",
    [
        endless_head(),
        raw(b"HTTP/1.1 200 OK\r\nx: " + b"x" * 40_000),
        raw(b"HTTP/1.1 103 Early\r\nx: " + b"x" * 20_000 + b"\r\n\r\n" + response()),
    ],
    ids=["many fields", "one field", "interim"],
)
async def test_too_long_a_head_is_a_breach_of_protocol(client: Client, behaviour: Behaviour):
    async with Receiver(behaviour) as receiver:
        outcome = await post(client, receiver)
        await wait_until(lambda: not receiver.open_connections)
    assert outcome.failure is Failure.PROTOCOL


def padded_answer(size: int) -> bytes:
    """A complete answer without a body, of this size."""
    return response(headers=[("x", "x" * (size - len(response(headers=[("x", "")]))))])


async def test_a_head_over_the_limit_is_refused_even_if_all_of_it_came_at_once(client: Client):
    async with Receiver(raw(padded_answer(16 * 1024 + 1))) as receiver:
        assert (await post(client, receiver)).failure is Failure.PROTOCOL


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (interim(100), (200, None)),
        (interim(102, 103), (200, None)),
        (interim(*[103] * 8), (200, None)),
        (interim(*[103] * 9), (0, Failure.PROTOCOL)),
        (interim(101), (0, Failure.PROTOCOL)),
        (interim(104, 199), (200, None)),
        (raw(b"HTTP/1.1 104 X\r\ncontent-length: 50\r\n\r\n" + response()), (0, Failure.PROTOCOL)),
        (
            raw(b"HTTP/1.1 104 X\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + response()),
            (0, Failure.PROTOCOL),
        ),
        (
            raw(b"HTTP/1.1 101 Up\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nhello"),
            (0, Failure.PROTOCOL),
        ),
    ],
)
async def test_interim_answers_are_passed_over_up_to_a_limit(
    client: Client, behaviour: Behaviour, expected: tuple[int, Failure | None]
):
    async with Receiver(behaviour) as receiver:
        assert failing(await post(client, receiver, deadline_s=2)) == expected


# Breaches of protocol


GZIP_CHUNKED = [("transfer-encoding", "gzip"), ("transfer-encoding", "chunked")]


@pytest.mark.parametrize(
    ("behaviour", "seen"),
    [
        (raw(b"hello there\r\n\r\n"), 0),
        (raw(b"HTTP/1.1 abc\r\n\r\n"), 0),
        (raw(b"HTTP/1.1 000 Zero\r\n\r\n"), 0),
        (raw(b"HTTP/1.1 999 Most\r\ncontent-length: 0\r\n\r\n"), 0),
        (raw(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nok"), 0),
        (raw(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"), 0),
        (raw(b"HTTP/1.1 20", close=True), 0),
        (interim(100, then=0), 0),
        (raw(b"HTTP/1.1 100 Continue\r\n\r\n", close=True), 0),
        (chunked_garbage(), 200),
        (short_body(), 200),
        (short_body(500), 500),
        (raw(response(headers=[("transfer-encoding", "chunked")]) + b"5\r\nhe", close=True), 200),
        (raw(response(headers=GZIP_CHUNKED) + b"5\r\nhe", close=True), 200),
    ],
)
async def test_an_answer_that_breaks_the_protocol_is_a_failure(
    client: Client, behaviour: Behaviour, seen: int
):
    async with Receiver(behaviour) as receiver:
        assert failing(await post(client, receiver)) == (seen, Failure.PROTOCOL)
        await wait_until(lambda: not receiver.open_connections)
    assert client.stats.failures[Failure.PROTOCOL] == 1
    assert client.stats.open == 0


@pytest.mark.parametrize(
    "behaviour",
    [
        long_body(),
        two_responses(200, 500),
        raw(response() + b"H"),
        raw(response(headers=[("connection", "close")]) + b"junk"),
        raw(response(204) + b"junk"),
    ],
)
async def test_a_success_with_something_behind_it_is_one_but_ends_the_connection(
    client: Client, behaviour: Behaviour
):
    async with Receiver(behaviour, status(201)) as receiver:
        assert (await post(client, receiver)).ok
        assert (await post(client, receiver)).status == 201
    assert receiver.connections == 2


async def test_what_comes_unasked_on_an_idle_connection_closes_it(client: Client):
    async with Receiver(raw(response(), response(500), gap_s=0.05)) as receiver:
        assert (await post(client, receiver)).ok
        await wait_until(lambda: client.stats.open == 0)
        assert client.stats.intruded_total == 1
        assert (await post(client, receiver)).ok
    assert receiver.connections == 2


async def test_a_server_that_speaks_first_is_not_an_http_server(client: Client):
    async with Receiver(banner(b"SSH-2.0-OpenSSH_9.6\r\n")) as receiver:
        assert failing(await post(client, receiver)) == (0, Failure.PROTOCOL)


# Ends and resets


@pytest.mark.parametrize(
    "behaviour", [reset_before_request(), reset_after_request(), close_after_request()]
)
async def test_a_connection_that_ends_before_the_answer_is_a_reset(
    client: Client, behaviour: Behaviour
):
    async with Receiver(behaviour) as receiver:
        assert failing(await post(client, receiver)) == (0, Failure.RESET)
    assert receiver.connections == 1
    assert client.stats.resent_total == 0


async def test_a_reset_in_the_answer_is_one_with_the_status_that_had_come(client: Client):
    async with Receiver(reset_in_body(200), reset_in_body(500)) as receiver:
        assert failing(await post(client, receiver)) == (200, Failure.RESET)
        assert failing(await post(client, receiver)) == (500, Failure.RESET)


@pytest.mark.parametrize("ending", [reset_after_request(), close_after_request()])
async def test_a_kept_connection_that_dies_without_an_answer_is_tried_again_on_a_new_one(
    client: Client, ending: Behaviour
):
    async with Receiver(status(), ending, status(201)) as receiver:
        assert (await post(client, receiver)).ok
        assert (await post(client, receiver)).status == 201
    assert [request.connection for request in receiver.requests] == [1, 1, 2]
    assert client.stats.resent_total == 1
    assert client.stats.failures[Failure.RESET] == 0


async def test_a_request_is_sent_again_once_at_most(client: Client):
    async with Receiver(status(), *[close_after_request()] * 3) as receiver:
        assert (await post(client, receiver)).ok
        assert failing(await post(client, receiver)) == (0, Failure.RESET)
    assert [request.connection for request in receiver.requests] == [1, 1, 2]


async def test_a_kept_connection_that_dies_within_the_answer_is_not_tried_again(client: Client):
    async with Receiver(status(), raw(b"H", close=True), status(201)) as receiver:
        assert (await post(client, receiver)).ok
        assert failing(await post(client, receiver)) == (0, Failure.PROTOCOL)
    assert len(receiver.requests) == 2


async def test_a_request_sent_again_keeps_its_deadline(client: Client):
    async with Receiver(status(), then(hang_for(0.2), close_after_request()), hang()) as receiver:
        assert (await post(client, receiver)).ok
        outcome = await post(client, receiver, deadline_s=0.3)
    assert outcome.failure is Failure.TIMEOUT
    assert 300 <= outcome.duration_ms < 300 + SLACK_S * 1000


def hang_for(seconds: float) -> Behaviour:
    return raw(b"", gap_s=seconds)


async def test_a_restarted_server_costs_nothing_but_new_connections(client: Client):
    async with Receiver() as receiver:
        assert all(o.ok for o in await asyncio.gather(*[post(client, receiver) for _ in range(5)]))
        receiver.drop_connections()
        assert all(o.ok for o in await asyncio.gather(*[post(client, receiver) for _ in range(5)]))
    assert sum(client.stats.failures.values()) == 0


# Keeping connections


async def test_requests_one_after_the_other_share_a_connection(client: Client):
    async with Receiver() as receiver:
        for _ in range(5):
            assert (await post(client, receiver)).ok
        stats = client.stats
        assert (stats.opened_total, stats.reused_total) == (1, 4)
        assert (stats.open, stats.idle, stats.in_flight) == (1, 1, 0)
    assert receiver.connections == 1


async def test_a_kept_connection_takes_no_task_for_a_request(client: Client):
    made = []
    loop = asyncio.get_running_loop()

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(coro)
        return asyncio.Task(coro, loop=loop, **options)

    async with Receiver() as receiver:
        assert (await post(client, receiver)).ok
        loop.set_task_factory(factory)
        for _ in range(3):
            assert (await post(client, receiver)).ok
        loop.set_task_factory(None)
    assert made == []


async def test_the_connection_used_last_is_used_next(client: Client):
    gate = asyncio.Event()
    async with Receiver(gated(gate), gated(gate), gated(gate)) as receiver:
        three = [asyncio.ensure_future(post(client, receiver)) for _ in range(3)]
        await wait_until(lambda: len(receiver.requests) == 3)
        gate.set()
        await asyncio.gather(*three)
        await post(client, receiver)
        last = receiver.requests[-1].connection
        for _ in range(3):
            await post(client, receiver)
    assert {request.connection for request in receiver.requests[-3:]} == {last}
    assert receiver.connections == 3


async def test_origins_do_not_share_connections(client: Client):
    async with Receiver() as one, Receiver() as other:
        for receiver in (one, other, one, other):
            assert (await post(client, receiver)).ok
    assert (one.connections, other.connections) == (1, 1)


async def test_an_idle_connection_is_closed_after_a_while(make_client: MakeClient):
    client = make_client(idle_s=0.1)
    async with Receiver() as receiver:
        before = time.monotonic()
        assert (await post(client, receiver)).ok
        await wait_until(lambda: receiver.open_connections == 0)
        assert time.monotonic() - before >= 0.1
        assert (client.stats.open, client.stats.idle) == (0, 0)
    assert client.stats.expired_total == 1


async def test_use_puts_off_the_end_of_a_connection(make_client: MakeClient):
    client = make_client(idle_s=0.3)
    async with Receiver() as receiver:
        until = time.monotonic() + 0.7
        while time.monotonic() < until:
            assert (await post(client, receiver)).ok
            await asyncio.sleep(0.02)
    assert receiver.connections == 1


async def test_a_connection_that_the_server_closes_is_forgotten_at_once(client: Client):
    async with Receiver(close_idle()) as receiver:
        assert (await post(client, receiver)).ok
        await wait_until(lambda: client.stats.open == 0)
        assert (await post(client, receiver)).ok
    assert client.stats.resent_total == 0
    assert client.stats.intruded_total == 0


async def test_an_origin_has_a_limit_and_the_rest_wait_in_order(make_client: MakeClient):
    client = make_client(origin_connections_max=2)
    gate = asyncio.Event()
    async with Receiver(gated(gate), gated(gate)) as receiver:
        asked = [asyncio.ensure_future(post(client, receiver, f"/{n}")) for n in range(8)]
        await wait_until(lambda: len(receiver.requests) == 2)
        assert (client.stats.open, client.stats.waiting, client.stats.in_flight) == (2, 6, 8)
        gate.set()
        assert all(outcome.ok for outcome in await asyncio.gather(*asked))
    assert [request.target for request in receiver.requests[2:]] == [f"/{n}" for n in range(2, 8)]
    assert receiver.connections == 2
    assert client.stats.waiting == 0


async def test_a_place_set_free_by_a_closed_connection_goes_to_who_waits(make_client: MakeClient):
    client = make_client(origin_connections_max=1)
    async with Receiver(answer_and_close(), reset_after_request(), answer_and_close()) as receiver:
        outcomes = await asyncio.gather(*[post(client, receiver) for _ in range(4)])
    assert [outcome.status for outcome in outcomes] == [200, 0, 200, 200]
    assert receiver.connections == 4


async def test_who_finds_no_room_to_wait_is_refused(make_client: MakeClient):
    client = make_client(origin_connections_max=1, waiting_max=2)
    gate = asyncio.Event()
    async with Receiver(gated(gate)) as receiver:
        asked = [asyncio.ensure_future(post(client, receiver)) for _ in range(3)]
        await wait_until(lambda: client.stats.waiting == 2)
        outcomes: list[Outcome] = []
        start(client, receiver, outcomes.append)
        assert outcomes == []
        await wait_until(lambda: outcomes)
        assert failing(outcomes[0]) == (0, Failure.CONNECT)
        assert client.stats.refused_total == 1
        gate.set()
        assert all(outcome.ok for outcome in await asyncio.gather(*asked))


async def test_at_the_limit_for_all_the_connection_idle_longest_makes_room(
    make_client: MakeClient,
):
    client = make_client(connections_max=2)
    async with Receiver() as first, Receiver() as second, Receiver() as third:
        for receiver in (first, second, first, third):
            assert (await post(client, receiver)).ok
        await wait_until(lambda: second.open_connections == 0)
        assert (first.open_connections, third.open_connections) == (1, 1)
    assert client.stats.evicted_total == 1


async def test_at_the_limit_for_all_origins_take_turns(make_client: MakeClient):
    client = make_client(connections_max=1)
    gate = asyncio.Event()
    order: list[str] = []
    async with Receiver(gated(gate)) as busy, Receiver() as one, Receiver() as other:
        for receiver, name in [(busy, "busy"), *[(one, "one")] * 3, (other, "other")]:
            start(client, receiver, lambda outcome, name=name: order.append(name))
        await wait_until(lambda: busy.requests)
        assert (client.stats.open, client.stats.waiting) == (1, 4)
        gate.set()
        await wait_until(lambda: len(order) == 5)
        assert client.stats.open == 1
    # On its one connection the first origin may finish what it has; the other waits for a place.
    assert order == ["busy", "one", "one", "one", "other"]


async def test_the_limit_for_all_holds_under_load_and_everything_gets_through(
    make_client: MakeClient,
):
    client = make_client(connections_max=3, origin_connections_max=2)
    peak = 0

    def look(_: Outcome) -> None:
        nonlocal peak
        peak = max(peak, client.stats.open)
        outcomes.append(_)

    outcomes: list[Outcome] = []
    receivers = [Receiver() for _ in range(6)]
    for receiver in receivers:
        await receiver.__aenter__()
    for n in range(120):
        start(client, receivers[n * 7 % 6], look)
    await wait_until(lambda: len(outcomes) == 120)
    assert all(outcome.ok for outcome in outcomes)
    assert peak == 3
    for receiver in receivers:
        await receiver.__aexit__()


# Deadlines


@pytest.mark.parametrize(
    ("behaviour", "seen"),
    [
        (hang(), 0),
        (silence(), 0),
        (headers_then_stop(), 200),
        (headers_then_stop(503), 503),
        (drip(), 0),
        (raw(b"HTTP/1.1 100 Continue\r\n\r\n"), 0),
    ],
)
async def test_a_request_ends_at_its_deadline_wherever_it_stands(
    client: Client, behaviour: Behaviour, seen: int
):
    async with Receiver(behaviour) as receiver:
        outcome = await post(client, receiver, deadline_s=0.15)
        assert failing(outcome) == (seen, Failure.TIMEOUT)
        assert client.stats.failures[Failure.TIMEOUT] == 1
        assert 150 <= outcome.duration_ms < 150 + SLACK_S * 1000
        if behaviour.before_request is False:
            await wait_until(lambda: not receiver.open_connections)
    assert client.stats.open == 0


async def test_a_body_nobody_takes_ends_at_the_deadline(client: Client):
    body = b"x" * 32_000_000
    async with Receiver(silence()) as receiver:
        outcome = await client.request(
            parse_url(receiver.url), head(body=body), body, deadline_s=0.2
        )
    assert failing(outcome) == (0, Failure.TIMEOUT)


async def test_a_name_that_is_never_resolved_ends_at_the_deadline(make_client: MakeClient):
    async def resolve(host: str) -> Sequence[str]:
        await asyncio.Event().wait()
        raise AssertionError

    client = make_client(resolve=resolve)
    outcome = await post(client, "http://name/", deadline_s=0.1)
    assert failing(outcome) == (0, Failure.TIMEOUT)
    await wait_until(lambda: client.stats.open == 0)


async def test_a_handshake_that_never_ends_ends_at_the_deadline(client: Client):
    async with Receiver(silence()) as receiver:
        url = receiver.url.replace("http://", "https://")
        outcome = await post(client, url, deadline_s=0.15)
    assert failing(outcome) == (0, Failure.TIMEOUT)


async def test_waiting_for_a_connection_counts_towards_the_deadline(make_client: MakeClient):
    client = make_client(origin_connections_max=1)
    async with Receiver(hang()) as receiver:
        first = asyncio.ensure_future(post(client, receiver))
        await wait_until(lambda: receiver.requests)
        outcome = await post(client, receiver, deadline_s=0.1)
        assert failing(outcome) == (0, Failure.TIMEOUT)
        assert client.stats.waiting == 0
        first.cancel()


async def test_short_and_long_deadlines_are_kept_beside_each_other(client: Client):
    spans_s = [0.3, 0.1, 0.2, 0.05, 0.15]
    async with Receiver(*[hang()] * 5) as receiver:
        outcomes = await asyncio.gather(
            *[post(client, receiver, deadline_s=span_s) for span_s in spans_s]
        )
    for span_s, outcome in zip(spans_s, outcomes, strict=True):
        assert outcome.failure is Failure.TIMEOUT
        assert span_s <= outcome.duration_ms / 1000 < span_s + SLACK_S


async def test_a_deadline_of_its_own_ends_with_the_request(client: Client):
    async with Receiver(status(), then(hang_for(0.2), status(201))) as receiver:
        assert (await post(client, receiver, deadline_s=0.1)).ok
        assert (await post(client, receiver)).status == 201
    assert receiver.connections == 1


async def test_the_default_deadline_is_a_parameter(make_client: MakeClient):
    client = make_client(deadline_s=0.1)
    async with Receiver(hang()) as receiver:
        assert (await post(client, receiver)).failure is Failure.TIMEOUT
    assert Limits().deadline_s == 15.0


# Addresses


async def test_a_forbidden_address_is_never_connected_to(make_client: MakeClient):
    names = Names(name=["127.0.0.1"], both=["8.8.8.8", "127.0.0.1"])
    client = make_client(allow=(), resolve=names.resolve)
    async with Receiver() as receiver:
        for host in ("127.0.0.1", "127.1", "2130706433", "[::ffff:7f00:1]", "name", "both"):
            outcome = await post(client, f"http://{host}:{receiver.port}/")
            assert failing(outcome) == (0, Failure.BLOCKED)
    assert receiver.connections == 0
    assert client.stats.failures[Failure.BLOCKED] == 6
    assert client.stats.open == 0


async def test_every_new_connection_is_judged_again(make_client: MakeClient):
    names = Names(name=["127.0.0.1"])
    client = make_client(resolve=names.resolve)
    async with Receiver(status(), answer_and_close()) as receiver:
        url = f"http://name:{receiver.port}/"
        assert (await post(client, url)).ok
        assert (await post(client, url)).ok
        assert names.asked == ["name"]
        names.answers["name"] = ["10.0.0.1"]
        assert (await post(client, url)).failure is Failure.BLOCKED
    assert names.asked == ["name", "name"]
    assert len(receiver.requests) == 2


async def test_a_name_that_does_not_resolve_is_a_failure_of_dns(client: Client):
    assert failing(await post(client, "http://unknown.example/")) == (0, Failure.DNS)
    assert client.stats.failures[Failure.DNS] == 1


async def test_a_port_on_which_nobody_listens_is_a_failure_to_connect(client: Client):
    with refusing_port() as port:
        assert failing(await post(client, f"http://127.0.0.1:{port}/")) == (0, Failure.CONNECT)
    assert client.stats.open == 0


async def test_the_next_address_is_tried_when_one_refuses(make_client: MakeClient):
    names = Names(name=["127.0.0.2", "::1", "127.0.0.1"], many=[*["127.0.0.2"] * 3, "127.0.0.1"])
    names.answers["many"] = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.1"]
    client = make_client(resolve=names.resolve)
    async with Receiver() as receiver:
        assert (await post(client, f"http://name:{receiver.port}/")).ok
        outcome = await post(client, f"http://many:{receiver.port}/")
    assert failing(outcome) == (0, Failure.CONNECT)


async def test_an_address_that_does_not_answer_leaves_time_for_the_next(make_client: MakeClient):
    names = Names(name=["127.0.0.2", "127.0.0.1"])
    client = make_client(resolve=names.resolve)
    async with Receiver(host="127.0.0.1") as receiver, full_backlog("127.0.0.2", receiver.port):
        outcome = await post(client, f"http://name:{receiver.port}/", deadline_s=1.0)
        assert outcome.ok
        assert outcome.duration_ms >= 450


class full_backlog:
    """A listener that accepts nobody: its queue is full, so connecting to it hangs."""

    def __init__(self, host: str, port: int) -> None:
        self.address = (host, port)

    async def __aenter__(self) -> None:
        import socket

        loop = asyncio.get_running_loop()
        self.listener = socket.socket()
        # Whoever else uses this address leaves connections behind that are not quite over.
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(self.address)
        self.listener.listen(0)
        self.fillers = [socket.socket() for _ in range(4)]
        for filler in self.fillers:
            filler.setblocking(False)
            filler.connect_ex(self.address)
        await loop.run_in_executor(None, time.sleep, 0.05)

    async def __aexit__(self, *_: object) -> None:
        for each in (self.listener, *self.fillers):
            each.close()


async def test_ipv6_works(client: Client):
    async with Receiver(host="::1") as receiver:
        assert (await post(client, receiver)).ok
        assert (await post(client, receiver)).ok
    assert receiver.connections == 1


async def test_an_unforeseen_fault_while_connecting_is_reported_and_gives_its_place_back(
    make_client: MakeClient, complaints: list[dict[str, Any]]
):
    async def resolve(host: str) -> Sequence[str]:
        raise ZeroDivisionError

    client = make_client(resolve=resolve, origin_connections_max=1)
    for _ in range(2):
        assert failing(await post(client, "http://name/")) == (0, Failure.CONNECT)
    await wait_until(lambda: len(complaints) == 2)
    assert all(isinstance(each["exception"], ZeroDivisionError) for each in complaints)
    assert client.stats.open == 0
    complaints.clear()


# TLS


async def test_https_works_and_keeps_its_connection(
    make_client: MakeClient, authority: Authority, trusting: ssl.SSLContext
):
    client = make_client(tls=trusting)
    async with Receiver(
        status(body=b"safe"), big_body(5000), tls=authority.server_context("127.0.0.1")
    ) as receiver:
        assert (await post(client, receiver)).excerpt == b"safe"
        assert (await post(client, receiver)).excerpt == b"x" * 256
        assert (await post(client, receiver)).ok
    assert receiver.connections == 1


async def test_the_name_of_the_url_is_checked_while_the_vetted_address_is_connected_to(
    make_client: MakeClient, authority: Authority, trusting: ssl.SSLContext
):
    asked_for: list[str | None] = []
    context = authority.server_context("hooks.example")
    context.sni_callback = lambda _, name, __: asked_for.append(name)
    names = Names(**{"hooks.example": ["127.0.0.1"], "other.example": ["127.0.0.1"]})
    client = make_client(tls=trusting, resolve=names.resolve)
    async with Receiver(tls=context) as receiver:
        assert (await post(client, f"https://Hooks.Example.:{receiver.port}/")).ok
        outcome = await post(client, f"https://other.example:{receiver.port}/")
        assert failing(outcome) == (0, Failure.TLS)
        outcome = await post(client, receiver)
        assert failing(outcome) == (0, Failure.TLS)
    assert asked_for[:2] == ["hooks.example", "other.example"]
    assert len(receiver.requests) == 1


async def test_a_certificate_nobody_vouches_for_is_a_failure_of_tls(
    make_client: MakeClient, authority: Authority, trusting: ssl.SSLContext, tmp_path: Path
):
    stranger = Authority(tmp_path, "stranger")
    client = make_client(tls=trusting)
    for context in (
        stranger.server_context("127.0.0.1"),
        authority.server_context("127.0.0.1", is_expired=True),
    ):
        async with Receiver(tls=context) as receiver:
            assert failing(await post(client, receiver)) == (0, Failure.TLS)
            assert receiver.requests == []
    assert client.stats.failures[Failure.TLS] == 2


async def test_plain_text_and_resets_in_the_handshake_are_failures_of_tls(client: Client):
    for behaviour in (banner(b"220 smtp.example\r\n"), reset_before_request()):
        async with Receiver(behaviour) as receiver:
            url = receiver.url.replace("http://", "https://")
            assert failing(await post(client, url)) == (0, Failure.TLS)


def test_verification_and_a_recent_version_are_on():
    context = client_context()
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (reset_after_request(), (0, Failure.RESET)),
        (close_after_request(), (0, Failure.RESET)),
        (reset_in_body(), (200, Failure.RESET)),
        (short_body(), (200, Failure.PROTOCOL)),
        (until_close(body=b"all"), (200, None)),
        (endless_body(), (200, None)),
        (hang(), (0, Failure.TIMEOUT)),
    ],
)
async def test_the_same_classes_hold_over_tls(
    make_client: MakeClient,
    authority: Authority,
    trusting: ssl.SSLContext,
    behaviour: Behaviour,
    expected: tuple[int, Failure | None],
):
    client = make_client(tls=trusting)
    async with Receiver(behaviour, tls=authority.server_context("127.0.0.1")) as receiver:
        assert failing(await post(client, receiver, deadline_s=0.5)) == expected


async def test_a_kept_tls_connection_that_dies_is_tried_again(
    make_client: MakeClient, authority: Authority, trusting: ssl.SSLContext
):
    client = make_client(tls=trusting)
    async with Receiver(
        status(),
        reset_after_request(),
        status(),
        close_after_request(),
        status(201),
        tls=authority.server_context("127.0.0.1"),
    ) as receiver:
        assert (await post(client, receiver)).ok
        assert (await post(client, receiver)).ok
        assert (await post(client, receiver)).status == 201
    assert client.stats.resent_total == 2


# Cancelling and callbacks


async def test_cancelling_closes_the_connection_and_calls_nobody(client: Client):
    outcomes: list[Outcome] = []
    async with Receiver(hang()) as receiver:
        handle = start(client, receiver, outcomes.append)
        await wait_until(lambda: receiver.requests)
        handle.cancel()
        handle.cancel()
        assert (client.stats.in_flight, client.stats.open) == (0, 0)
        await wait_until(lambda: not receiver.open_connections)
        assert (await post(client, receiver)).ok
    assert outcomes == []


async def test_cancelling_while_connecting_or_waiting_calls_nobody(make_client: MakeClient):
    client = make_client(origin_connections_max=1)
    outcomes: list[Outcome] = []
    async with Receiver() as receiver:
        connecting, waiting = (start(client, receiver, outcomes.append) for _ in range(2))
        connecting.cancel()
        waiting.cancel()
        assert (client.stats.in_flight, client.stats.waiting) == (0, 0)
        await wait_until(lambda: client.stats.open == 0)
        assert (await post(client, receiver)).ok
    assert outcomes == []
    assert len(receiver.requests) == 1


async def test_cancelling_one_that_connects_lets_the_next_connect(make_client: MakeClient):
    client = make_client(origin_connections_max=1)
    outcomes: list[Outcome] = []
    async with Receiver() as receiver:
        handles = [start(client, receiver, outcomes.append) for _ in range(3)]
        handles[0].cancel()
        await wait_until(lambda: len(outcomes) == 2)
    assert all(outcome.ok for outcome in outcomes)


async def test_cancelling_at_any_moment_leaves_nothing_behind(client: Client):
    async with Receiver() as receiver:
        for wait_turns in range(12):
            asked = asyncio.ensure_future(post(client, receiver))
            for _ in range(wait_turns):
                await asyncio.sleep(0)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            assert client.stats.in_flight == 0
        await wait_until(lambda: client.stats.open == client.stats.idle)
        assert (await post(client, receiver)).ok


async def test_cancelling_after_the_outcome_does_nothing(client: Client):
    outcomes: list[Outcome] = []
    async with Receiver() as receiver:
        handle = start(client, receiver, outcomes.append)
        await wait_until(lambda: outcomes)
        handle.cancel()
        assert (client.stats.open, client.stats.in_flight) == (1, 0)
        assert (await post(client, receiver)).ok
    assert receiver.connections == 1


async def test_cancelling_whoever_waits_for_a_request_cancels_it(client: Client):
    async with Receiver(hang()) as receiver:
        asked = asyncio.ensure_future(post(client, receiver))
        await wait_until(lambda: receiver.requests)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert client.stats.in_flight == 0
        await wait_until(lambda: not receiver.open_connections)


async def test_a_callback_may_send_the_next_request_on_the_same_connection(client: Client):
    outcomes: list[Outcome] = []

    def done(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if len(outcomes) < 5:
            start(client, receiver, done)

    async with Receiver() as receiver:
        start(client, receiver, done)
        await wait_until(lambda: len(outcomes) == 5)
    assert receiver.connections == 1


async def test_a_callback_that_fails_is_reported_and_harms_no_other_request(
    client: Client, complaints: list[dict[str, Any]]
):
    def done(outcome: Outcome) -> None:
        raise ZeroDivisionError

    async with Receiver() as receiver:
        start(client, receiver, done)
        await wait_until(lambda: complaints)
        assert (await post(client, receiver)).ok
    assert receiver.connections == 1
    assert isinstance(complaints.pop()["exception"], ZeroDivisionError)
    assert client.stats.in_flight == 0


async def test_a_callback_may_cancel_another_request(client: Client):
    outcomes: list[Outcome] = []
    handles: list[Exchange] = []

    def done(outcome: Outcome) -> None:
        outcomes.append(outcome)
        for handle in handles:
            handle.cancel()

    async with Receiver(hang(), hang()) as receiver:
        handles += [start(client, receiver, done, deadline_s=0.1) for _ in range(2)]
        await wait_until(lambda: outcomes)
        await wait_until(lambda: not receiver.open_connections)
    assert len(outcomes) == 1


# Closing


async def test_closing_lets_requests_in_flight_finish(make_client: MakeClient):
    client = make_client(origin_connections_max=2)
    gate = asyncio.Event()
    async with Receiver(status(), gated(gate), gated(gate)) as receiver:
        assert (await post(client, receiver)).ok
        asked = [asyncio.ensure_future(post(client, receiver)) for _ in range(3)]
        await wait_until(lambda: len(receiver.requests) == 3)
        closing = asyncio.ensure_future(client.close(grace_s=5))
        await asyncio.sleep(0)
        with pytest.raises(ClientClosed):
            start(client, receiver, print)
        gate.set()
        await closing
        assert all(outcome.ok for outcome in await asyncio.gather(*asked))
        await wait_until(lambda: not receiver.open_connections)
    assert (client.stats.open, client.stats.in_flight) == (0, 0)


async def test_closing_ends_what_does_not_finish_in_time_as_reset(make_client: MakeClient):
    client = make_client(origin_connections_max=1)
    async with Receiver(hang()) as receiver, full_backlog("127.0.0.2", receiver.port):
        asked = [asyncio.ensure_future(post(client, receiver)) for _ in range(2)]
        url = f"http://127.0.0.2:{receiver.port}/"
        asked.append(asyncio.ensure_future(post(client, url)))
        await wait_until(lambda: receiver.requests)
        await client.close(grace_s=0.05)
        outcomes = await asyncio.gather(*asked)
        await wait_until(lambda: not receiver.open_connections)
    assert [failing(outcome) for outcome in outcomes] == [(0, Failure.RESET)] * 3
    assert (client.stats.open, client.stats.in_flight, client.stats.waiting) == (0, 0, 0)


async def test_closing_while_connecting_leaves_nothing_behind(
    make_client: MakeClient, authority: Authority, trusting: ssl.SSLContext
):
    async with Receiver(silence()) as receiver:
        client = make_client(tls=trusting)
        url = receiver.url.replace("http://", "https://")
        asked = asyncio.ensure_future(post(client, url))
        await wait_until(lambda: receiver.connections)
        await client.close(grace_s=0)
        assert failing(await asked) == (0, Failure.RESET)


async def test_closing_says_goodbye_on_idle_tls_connections(
    make_client: MakeClient, authority: Authority, trusting: ssl.SSLContext
):
    client = make_client(tls=trusting)
    async with Receiver(tls=authority.server_context("127.0.0.1")) as receiver:
        assert (await post(client, receiver)).ok
        before = time.monotonic()
        await client.close()
        assert time.monotonic() - before < 0.8
        await wait_until(lambda: not receiver.open_connections)


async def test_closing_twice_is_the_same_as_once(client: Client):
    async with Receiver() as receiver:
        assert (await post(client, receiver)).ok
        await client.close()
        await client.close()
        await wait_until(lambda: not receiver.open_connections)
