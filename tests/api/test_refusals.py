import pytest

from app.api.problems import BACKLOG_FULL, INVALID, STORE_FULL, TOO_MANY_WAITS
from app.api.refusals import EVERY_S, Refusals
from tests.api.conftest import Api


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def refusals(clock):
    return Refusals(lambda: clock[0])


def told(caplog):
    return [(line.kind, line.count) for line in caplog.records]


def test_every_kind_of_problem_is_counted(refusals):
    for kind in (INVALID, INVALID, STORE_FULL):
        refusals.note(kind, "why")
    assert refusals.read() == {(("kind", "invalid"),): 2, (("kind", "store-full"),): 1}


def test_a_limit_that_is_met_is_told_at_once_and_then_now_and_again(refusals, clock, caplog):
    for _ in range(5):
        refusals.note(BACKLOG_FULL, "9 posts wait")
    assert told(caplog) == [("backlog-full", 1)]
    assert caplog.records[0].detail == "9 posts wait"
    refusals.note(TOO_MANY_WAITS, "another kind has its own line")
    clock[0] += EVERY_S
    refusals.note(BACKLOG_FULL, "9 posts wait")
    assert told(caplog) == [("backlog-full", 1), ("too-many-waits", 1), ("backlog-full", 5)]


def test_a_mistake_of_the_caller_is_told_to_nobody_else(refusals, caplog):
    refusals.note(INVALID, "author: must be a user id")
    assert caplog.records == []


async def test_problems_of_calls_and_of_unknown_paths_are_counted_alike(single_api: Api):
    await single_api.admin.post("/v1/posts", json={})
    await single_api.admin.get("/nothing")
    await single_api.admin.get("/v1/posts/01k2v3w4x5y6z7a800")
    lines = (await single_api.admin.get("/metrics")).text.splitlines()
    assert 'moments_api_problems_total{kind="invalid"} 1.0' in lines
    assert 'moments_api_problems_total{kind="not-found"} 2.0' in lines
    assert 'moments_api_requests_total{status="404"} 2.0' in lines
