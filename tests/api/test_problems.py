import logging

import pytest

from app import errors
from app.api.problems import KINDS, Problem, problem_of
from tests.api.conftest import Api
from tests.api.description import DOCUMENT


@pytest.mark.parametrize("path", ["/nothing", "/v1", "/v1/posts/", "/v1/users/bob", "//v1/posts"])
async def test_an_unknown_path_is_a_404_problem(single_api: Api, path: str):
    answer = await single_api.admin.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:moments:problem:not-found"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/posts", "GET, HEAD, OPTIONS, POST"),
        ("DELETE", "/v1/users/bob/feed", "GET, HEAD, OPTIONS"),
        ("POST", "/v1/users/bob/friends/cyd", "DELETE, OPTIONS, PUT"),
        ("GET", "/v1/endpoints/0123456700:ping", "OPTIONS, POST"),
        ("BREW", "/healthz", "GET, HEAD, OPTIONS"),
    ],
)
async def test_another_method_is_a_405_that_names_those_there_are(
    single_api: Api, method: str, path: str, allow: str
):
    answer = await single_api.admin.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allow
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("action", ["nothing", "ping:ping", "Ping", ""])
async def test_an_action_that_does_not_exist_is_a_404(single_api: Api, action: str):
    answer = await single_api.admin.post(f"/v1/endpoints/0123456700:{action}")
    assert answer.status_code == 404


async def test_options_tells_the_methods_to_anybody(single_api: Api):
    async with single_api.client(None) as client:
        answer = await client.options("/v1/keys")
    assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_head_answers_like_get_without_the_body(single_api: Api):
    got = await single_api.admin.get("/v1/users/bob/friends")
    head = await single_api.admin.head("/v1/users/bob/friends")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]
    missing = await single_api.admin.head("/v1/posts/01k2v3w4x5y6z7a800")
    assert (missing.status_code, missing.content) == (404, b"")


async def test_every_answer_says_not_to_store_and_not_to_guess(single_api: Api):
    for path in ("/healthz", "/nothing", "/v1/users/bob/friends", "/metrics", "/openapi.json"):
        answer = await single_api.admin.get(path)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_mistake_of_ours_is_a_500_with_an_id_and_no_details(
    single_api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    async def broken(_: str) -> None:
        raise RuntimeError("the secret plan")

    monkeypatch.setattr(single_api.services.posts, "get", broken)
    answer = await single_api.admin.get("/v1/posts/01k2v3w4x5y6z7a800")
    assert answer.status_code == 500
    assert "secret plan" not in answer.text
    record = next(r for r in caplog.records if r.levelno == logging.ERROR)
    assert record.instance == answer.json()["instance"]
    assert "the secret plan" in str(record.exc_info)


@pytest.mark.parametrize(
    ("error", "status", "word"),
    [
        (errors.StoreUnavailable("10.0.0.7 is down"), 503, "unavailable"),
        (errors.ConnectionLost("10.0.0.7 is down"), 503, "unavailable"),
        (errors.StoreFull("10.0.0.7 is full"), 503, "store-full"),
        (errors.NotDurable("10.0.0.7 is slow"), 503, "not-durable"),
        (errors.BacklogFull("9 posts are waiting"), 503, "backlog-full"),
        (errors.NoSender("no sender answered"), 503, "no-sender"),
        (errors.IdempotencyMismatch("taken"), 409, "idempotency-mismatch"),
        (errors.PostNotFound("there is no such post"), 404, "not-found"),
        (errors.PostDeleted("it is deleted"), 409, "conflict"),
        (errors.TooManyVersions("edited too often"), 409, "limit-reached"),
        (errors.GraphFull("ann", 3), 409, "limit-reached"),
        (errors.TooManyEndpoints("too many"), 409, "limit-reached"),
        (errors.TooManyApiKeys("too many"), 409, "limit-reached"),
        (errors.CommandRejected("WRONGTYPE of 10.0.0.7"), 500, "internal"),
        (RuntimeError("10.0.0.7"), 500, "internal"),
    ],
)
def test_each_error_is_a_problem_of_its_own(error: Exception, status: int, word: str):
    problem = problem_of(error)
    document = problem.document()
    assert document["status"] == status
    assert document["type"] == f"urn:moments:problem:{word}"
    assert "10.0.0.7" not in str(document)
    assert ("Retry-After" in problem.headers) is (status == 503)


def test_a_problem_is_its_own_answer():
    problem = problem_of(errors.NoSender("no sender answered"))
    assert isinstance(problem, Problem)
    assert problem_of(problem) is problem


async def test_the_store_being_away_is_a_503_on_every_call(single_api: Api):
    await single_api.services.store.close()
    single_api.services.api_keys._cache_s = 60.0
    for path in ("/v1/users/bob/friends", "/v1/users/bob/feed", "/v1/dead-letters"):
        answer = await single_api.admin.get(path)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"


def test_every_kind_of_problem_has_a_word_of_its_own_which_is_described():
    words = [kind.word for kind in KINDS]
    assert len(words) == len(set(words)) > 20
    described = DOCUMENT["components"]["schemas"]["ProblemDocument"]["properties"]["type"]
    for word in words:
        assert word in described["description"]
