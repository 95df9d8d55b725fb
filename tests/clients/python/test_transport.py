"""What a client does when calls fail: which it repeats, how long it waits, what it raises."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count

import httpx
import pytest

from moments_client import (
    BadRequest,
    Conflict,
    Edge,
    Forbidden,
    Invalid,
    Moments,
    NotFound,
    ProblemError,
    Retries,
    ServerFault,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    transport,
)
from moments_client.backoff import full_jitter_s
from moments_client.errors import MomentsError
from moments_client.times import rfc3339
from moments_client.transport import read_retry_after
from tests.clients.python.live import Live
from tests.receivers import (
    Behaviour,
    Receiver,
    hang,
    redirect,
    refusing_port,
    reset_after_request,
    status,
)

QUICK = Retries(deadline_s=30.0, attempt_s=10.0, first_s=0.001, longest_s=0.002)
POST = {
    "id": "01kg9ys7g0d2pf2d03",
    "author": "ann",
    "type": "post",
    "version": 1,
    "created_at": "2026-01-31T12:00:00.000Z",
    "updated_at": "2026-01-31T12:00:00.000Z",
    "data": {},
}
JSON = [("content-type", "application/json")]
DONE = status(200, headers=JSON, body=json.dumps(POST).encode())


@asynccontextmanager
async def client(url: str, retries: Retries = QUICK) -> AsyncIterator[Moments]:
    # Without TLS there is nothing to verify; loading the authorities costs 40 ms.
    async with httpx.AsyncClient(verify=False) as http:
        yield Moments(url, "mk_any", retries=retries, http=http)


def problem(
    code: int, word: str = "any", retry_after: str | None = None, **more: object
) -> Behaviour:
    document = {"type": f"urn:moments:problem:{word}", "title": "T", "status": code, "detail": "d"}
    body = json.dumps({**document, **more}).encode()
    headers = [("content-type", "application/problem+json")]
    return status(code, headers=headers, body=body, retry_after=retry_after)


async def methods_sent(*script: Behaviour, call: str) -> list[str]:
    """The methods of all requests that one call makes, whatever comes of it."""
    async with Receiver(*script, default=DONE) as receiver, client(receiver.url) as moments:
        with contextlib.suppress(MomentsError):
            await make(moments, call)
        return [request.method for request in receiver.requests]


async def make(moments: Moments, call: str) -> None:
    match call:
        case "get":
            await moments.posts.get("p")
        case "put":
            await moments.graph.befriend("ann", "bob")
        case "delete":
            await moments.posts.delete("p")
        case "post":
            await moments.posts.create("ann", {})
        case "edit":
            await moments.posts.edit("p", {})
        case "retry":
            await moments.deliveries.retry("d")
        case "import":
            await moments.graph.load([Edge("friend", "a", "b")])


@pytest.mark.parametrize(
    ("call", "method"), [("get", "GET"), ("put", "PUT"), ("delete", "DELETE"), ("post", "POST")]
)
@pytest.mark.parametrize("failure", [status(503), status(502), reset_after_request()])
async def test_what_can_be_done_twice_is_repeated(failure: Behaviour, call: str, method: str):
    assert await methods_sent(failure, failure, call=call) == [method] * 3


@pytest.mark.parametrize("call", ["edit", "retry", "import"])
@pytest.mark.parametrize("failure", [status(503), reset_after_request()])
async def test_what_may_have_been_done_is_not_done_twice(failure: Behaviour, call: str):
    assert len(await methods_sent(failure, call=call)) == 1


@pytest.mark.parametrize("call", ["get", "post", "edit", "retry"])
async def test_what_was_refused_for_its_rate_is_repeated(call: str):
    assert len(await methods_sent(problem(429), call=call)) == 2


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 413, 422, 500])
async def test_what_fails_again_anyway_is_not_repeated(code: int):
    assert len(await methods_sent(problem(code), call="get")) == 1


async def test_a_post_goes_with_one_idempotency_key_however_often_it_is_sent():
    async with Receiver(status(503), default=DONE) as receiver, client(receiver.url) as moments:
        await moments.posts.create("ann", {})
        await moments.posts.create("ann", {}, idempotency_key="mine")
    first, again, mine = [request.headers["idempotency-key"] for request in receiver.requests]
    assert first == again
    assert len(first) == 32
    assert mine == "mine"


async def test_an_endpoint_that_was_deleted_without_an_answer_is_gone_all_the_same():
    async with (
        Receiver(reset_after_request(), problem(404, "not-found")) as receiver,
        client(receiver.url) as moments,
    ):
        await moments.endpoints.delete("e")
    assert len(receiver.requests) == 2
    async with (
        Receiver(problem(429), problem(404, "not-found")) as receiver,
        client(receiver.url) as moments,
    ):
        with pytest.raises(NotFound):  # nothing was done before it
            await moments.endpoints.delete("e")


async def test_retry_after_is_waited_for():
    async with (
        Receiver(status(503, retry_after="1"), default=DONE) as receiver,
        client(receiver.url) as moments,
    ):
        await moments.posts.get("p")
    first, second = receiver.requests
    assert second.at_ms - first.at_ms >= 990  # a loop's clock has milliseconds


async def test_what_would_have_to_wait_beyond_the_deadline_fails_at_once():
    async with (
        Receiver(default=problem(503, "unavailable", retry_after="60")) as receiver,
        client(receiver.url) as moments,
        asyncio.timeout(20),
    ):
        with pytest.raises(Unavailable) as caught:
            await moments.posts.get("p")
    assert caught.value.retry_after_s == 60
    assert len(receiver.requests) == 1


async def test_one_that_does_not_answer_is_given_up_and_asked_again():
    retries = Retries(attempt_s=0.2, first_s=0.001)
    async with (
        Receiver(hang(), default=DONE) as receiver,
        client(receiver.url, retries) as moments,
    ):
        assert (await moments.posts.get("p")).author == "ann"
    assert len(receiver.requests) >= 2


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by a second whenever it is looked at: twice or thrice for each try."""
    ticks = count()
    monkeypatch.setattr(transport, "monotonic", lambda: float(next(ticks)))


@pytest.mark.usefixtures("ticking")
async def test_the_deadline_is_one_for_all_repetitions():
    retries = Retries(deadline_s=10, first_s=0.001)
    async with (
        Receiver(default=problem(503)) as receiver,
        client(receiver.url, retries) as moments,
    ):
        with pytest.raises(Unavailable):
            await moments.posts.get("p")
    assert len(receiver.requests) == 4


@pytest.mark.usefixtures("ticking")
async def test_a_try_that_the_deadline_cuts_short_does_not_hide_what_was_answered_before():
    retries = Retries(deadline_s=4, attempt_s=3, first_s=0.001)
    async with (
        Receiver(problem(503, "store-full"), default=hang()) as receiver,
        client(receiver.url, retries) as moments,
    ):
        with pytest.raises(Unavailable, match="503 T: d"):
            await moments.posts.get("p")
    assert len(receiver.requests) == 2


async def test_silence_is_told_with_how_long_it_was():
    retries = Retries(deadline_s=0.2)
    async with Receiver(default=hang()) as receiver, client(receiver.url, retries) as moments:
        with pytest.raises(Unreachable, match=r"did not answer within 0\.2 s") as caught:
            await moments.posts.get("p")
    assert caught.value.was_sent


@pytest.mark.usefixtures("ticking")
async def test_nobody_there_is_told_with_the_url():
    retries = Retries(first_s=0.001, longest_s=0.001)
    with refusing_port() as port:
        async with client(f"http://127.0.0.1:{port}", retries) as moments:
            with pytest.raises(Unreachable, match=f"127.0.0.1:{port}") as caught:
                await moments.deliveries.retry("d")
    assert not caught.value.was_sent


async def test_a_problem_is_told_whole():
    failure = problem(
        422,
        "invalid",
        errors=[{"field": "author", "message": "Field required"}],
        instance="urn:uuid:1",
        lines_done=7,
    )
    async with Receiver(failure) as receiver, client(receiver.url) as moments:
        with pytest.raises(Invalid, match="422 T: d") as caught:
            await moments.posts.get("p")
    error = caught.value
    assert (error.type, error.title, error.status, error.detail) == (
        "urn:moments:problem:invalid",
        "T",
        422,
        "d",
    )
    assert [(one.field, one.message) for one in error.errors] == [("author", "Field required")]
    assert (error.instance, error.retry_after_s, error.members) == (
        "urn:uuid:1",
        None,
        {"lines_done": 7},
    )


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, BadRequest),
        (401, Unauthenticated),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (413, BadRequest),
        (422, Invalid),
        (500, ServerFault),
        (501, ServerFault),
    ],
)
async def test_each_status_is_a_class_of_its_own(code: int, kind: type[ProblemError]):
    async with Receiver(default=problem(code)) as receiver, client(receiver.url) as moments:
        with pytest.raises(ProblemError) as caught:
            await moments.posts.get("p")
    assert type(caught.value) is kind
    assert isinstance(caught.value, MomentsError)


@pytest.mark.usefixtures("ticking")
async def test_a_proxy_that_knows_no_problems_is_understood():
    gateway = status(502, body=b"<html>Bad Gateway</html>")
    async with Receiver(default=gateway) as receiver, client(receiver.url) as moments:
        with pytest.raises(Unavailable) as caught:
            await moments.posts.get("p")
    assert (caught.value.status, caught.value.type, caught.value.detail) == (502, "about:blank", "")
    assert len(receiver.requests) > 1


@pytest.mark.parametrize(
    "behaviour",
    [
        status(200, body=b"<html>"),
        status(200, headers=JSON, body=b"[]"),
        status(200, headers=JSON, body=b'{"id": "p"}'),
        redirect("http://127.0.0.1:1/"),
    ],
)
async def test_an_answer_of_something_else_is_told(behaviour: Behaviour):
    async with Receiver(default=behaviour) as receiver, client(receiver.url) as moments:
        with pytest.raises(UnexpectedAnswer):
            await moments.posts.get("p")
    assert len(receiver.requests) == 1


async def test_the_service_says_no_in_its_own_words(running: Live):
    async with Moments(running.url, "mk_wrong") as moments:
        with pytest.raises(Unauthenticated) as caught:
            await moments.operations.stats()
        assert caught.value.type == "urn:moments:problem:unauthenticated"
        assert (await moments.operations.health()).status == "ok"
    async with Moments(running.url, running.key) as moments:
        with pytest.raises(Invalid) as invalid:
            await moments.posts.create("not an id", {})
        assert [one.field for one in invalid.value.errors] == ["author"]
        made = await moments.keys.create("reader", ["read"])
        async with Moments(running.url, made.key) as reader:
            with pytest.raises(Forbidden):
                await reader.posts.create("ann", {})


async def test_a_rate_is_kept_to_without_an_error(running: Live):
    async with Moments(running.url, running.key) as moments:
        slow = await moments.keys.create("slow", ["read"], rate_per_s=2)
    async with Moments(running.url, slow.key) as moments:
        for _ in range(3):
            await moments.operations.stats()


async def test_connections_of_ones_own_stay_open(running: Live):
    async with httpx.AsyncClient() as http:
        async with Moments(running.url, running.key, http=http) as moments:
            await moments.operations.health()
        assert not http.is_closed
        assert (await http.get(f"{running.url}/healthz")).is_success


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "http://", ""])
def test_what_is_no_url_is_refused_at_once(url: str):
    with pytest.raises(ValueError, match="is no URL such as"):
        Moments(url, "mk_any")


def test_waits_are_spread_over_all_of_their_limit():
    waits = [full_jitter_s(n, 1.0, first_s=0.5, longest_s=20.0) for n in range(1, 9)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0]
    assert full_jitter_s(3, 0.25, first_s=0.5, longest_s=20.0) == 0.5
    assert full_jitter_s(5_000, 0.0, first_s=0.5, longest_s=20.0) == 0.0


def dates() -> Iterator[tuple[str | None, float | None]]:
    now = datetime(2026, 1, 31, 12, tzinfo=UTC)
    yield "7", 7.0
    yield format_datetime(now + timedelta(seconds=9), usegmt=True), 9.0
    yield format_datetime(now - timedelta(seconds=9), usegmt=True), 0.0
    for other in (None, "", "-1", "1.5", "soon"):
        yield other, None


@pytest.mark.parametrize(("text", "found"), list(dates()))
def test_retry_after_is_seconds_or_a_date(text: str | None, found: float | None):
    assert read_retry_after(text, datetime(2026, 1, 31, 12, tzinfo=UTC)) == found


def test_times_need_a_zone():
    at = datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC)
    assert rfc3339(at) == "2026-01-31T12:00:00.123Z"
    with pytest.raises(ValueError, match="has no time zone"):
        rfc3339(at.replace(tzinfo=None))
