"""What echoes a challenge, and what does not."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.challenge import ANSWER_BYTES_MAX, challenge_in, echo_of, is_echo, new_challenge

CHALLENGE = new_challenge(lambda size: bytes(range(7, 7 + size)))
OTHER = new_challenge(lambda size: bytes(range(size)))


def test_each_challenge_is_another_and_cannot_be_guessed():
    assert len(CHALLENGE) == 43
    assert len({new_challenge(os.urandom) for _ in range(100)}) == 100
    assert new_challenge(bytes) == "A" * 43


@pytest.mark.parametrize(
    "body",
    [
        echo_of(CHALLENGE),
        json.dumps({"challenge": CHALLENGE, "more": [1, None]}).encode(),
        f' {{ "challenge" : "{CHALLENGE}" }} \n'.encode(),
        f'{{"challenge":"{CHALLENGE[0]}\\u{ord(CHALLENGE[1]):04x}{CHALLENGE[2:]}"}}'.encode(),
    ],
)
def test_an_object_with_the_challenge_echoes_it(body: bytes):
    assert len(body) < ANSWER_BYTES_MAX
    assert is_echo(body, CHALLENGE)


ASKED = {"type": "endpoint.verify", "data": {"challenge": CHALLENGE, "endpoint": "ky77tv2v00"}}


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"null", b"7", b"[]", b'"', b"\xff\xfe", b"[" * ANSWER_BYTES_MAX, b"\x00"),
        *(b'{"challenge":null}', b'{"challenge":7}', b'{"challenge":[]}', b'{"challenge":""}'),
        *(b'{"challenge":"\\ud800"}', '{"challenge":"ä"}'.encode()),
        CHALLENGE.encode(),
        json.dumps(CHALLENGE).encode(),
        json.dumps([CHALLENGE]).encode(),
        json.dumps({"challenge": [CHALLENGE]}).encode(),
        json.dumps({"Challenge": CHALLENGE}).encode(),
        json.dumps({"challenge": CHALLENGE + " "}).encode(),
        json.dumps({"challenge": CHALLENGE[:-1]}).encode(),
        json.dumps({"challenge": OTHER}).encode(),
        json.dumps(ASKED).encode(),  # who sends back what came has read nothing of it
        json.dumps({"json": ASKED, "data": ASKED["data"]}).encode(),
        echo_of(CHALLENGE)[:-1],
    ],
)
def test_nothing_else_does(body: bytes):
    assert not is_echo(body, CHALLENGE)


@given(st.binary(max_size=200))
def test_whatever_is_answered_is_judged(body: bytes):
    assert not is_echo(body, CHALLENGE)


def test_a_receiver_finds_the_challenge_in_a_body_and_in_a_query():
    assert challenge_in(ASKED) == CHALLENGE
    assert challenge_in({**ASKED, "data": json.dumps(ASKED["data"])}) == CHALLENGE


@pytest.mark.parametrize(
    "event",
    [
        {},
        {**ASKED, "type": "post.created"},
        {**ASKED, "data": None},
        {**ASKED, "data": "{"},
        {**ASKED, "data": "[" * 100_000},
        {**ASKED, "data": "[]"},
        {**ASKED, "data": {"challenge": 7}},
    ],
)
def test_it_finds_none_in_anything_else(event: dict[str, object]):
    assert challenge_in(event) is None
