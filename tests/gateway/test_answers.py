import json
from http import HTTPStatus

import pytest

from app.gateway.answers import _KINDS, answer, problem


def test_an_answer_says_how_long_it_is_and_that_it_is_the_last():
    raw = answer(200, b"ok\n").serialize()
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 3" in head
    assert b"Connection: close" in head
    assert body == b"ok\n"


@pytest.mark.parametrize("status", list(_KINDS))
def test_a_problem_is_a_document_about_itself(status: int):
    response = problem(status, "Because.", {"Retry-After": "5"})
    assert response.reason_phrase == HTTPStatus(status).phrase
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Retry-After"] == "5"
    told = json.loads(response.body)
    assert (told["status"], told["detail"]) == (status, "Because.")
    assert told["type"].startswith("urn:moments:problem:")
    assert told["title"]
