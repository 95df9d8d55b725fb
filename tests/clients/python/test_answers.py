"""Every field of every answer that the service describes is known, with its type, and no other."""

from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import pytest

import moments_client
from app.api.app import ALL_CALLS
from app.api.openapi import document
from moments_client import answers, messages
from moments_client.decoding import decode, json_name
from moments_client.errors import FieldError, ProblemError, UnexpectedAnswer

DOCUMENT = document(ALL_CALLS)
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]

# Answers that are not dataclasses: the service's descriptions, and what becomes an exception.
OTHERWISE = {"Description", "PushDescription", "ProblemDocument", "ProblemField"}


def answered() -> set[str]:
    """The schemas of all answers, and those they are made of."""
    found: set[str] = set()
    for path in DOCUMENT["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if status.startswith("2"):
                    _follow(response, found)
    return found


def _follow(part: Any, found: set[str]) -> None:
    if isinstance(part, list):
        for one in part:
            _follow(one, found)
    elif isinstance(part, dict):
        name = str(part.get("$ref", "")).rpartition("/")[2]
        if name in SCHEMAS and name not in found:
            found.add(name)
            _follow(SCHEMAS[name], found)
        for key, one in part.items():
            if key not in ("examples", "links"):
                _follow(one, found)


ANSWERED = sorted(answered() - OTHERWISE)


def test_there_are_answers_to_look_at():
    assert {"Post", "Deliveries", "FullEndpoint", "Stats", "ExpiredPost"} <= set(ANSWERED)


@pytest.mark.parametrize("name", ANSWERED)
def test_a_class_has_the_fields_of_its_schema(name: str):
    class_, schema = getattr(answers, name), SCHEMAS[name]
    assert is_dataclass(class_)
    known = {json_name(one): one for one in fields(class_)}
    assert set(known) == set(schema["properties"])
    required = {key for key, one in known.items() if one.default is MISSING}
    assert required == set(schema["required"])


@pytest.mark.parametrize("name", ANSWERED)
def test_the_examples_of_its_schema_are_read(name: str):
    examples = SCHEMAS[name].get("examples", [])
    assert examples
    for example in examples:
        read = decode(getattr(answers, name), example)
        for one in fields(read):
            assert (json_name(one) in example) or getattr(read, one.name) in (None, False)


def test_a_class_that_is_no_answer_any_more_is_taken_away():
    own = {
        name
        for name, one in vars(answers).items()
        if is_dataclass(one) and one.__module__ == answers.__name__
    }
    assert own == set(ANSWERED)


def test_a_problem_has_all_that_its_document_has():
    named = {"type", "title", "status", "detail", "errors", "instance"}
    described = set(SCHEMAS["ProblemDocument"]["properties"])
    assert named <= described
    members = dict.fromkeys(described - named, 1)
    error = ProblemError(type="t", title="T", status=400, detail="d", members=members)
    assert all(hasattr(error, name) for name in named)
    assert error.members == members
    assert {one.name for one in fields(FieldError)} == set(SCHEMAS["ProblemField"]["properties"])


def test_words_are_those_of_the_service():
    assert _words("Delivery", "state") == set(answers.DeliveryState.__args__)
    assert _words("Delivery", "channel") == set(answers.Channel.__args__)
    assert _words("Process", "role") == set(answers.Role.__args__)
    assert _words("Endpoint", "state") == set(answers.EndpointState.__args__)
    assert _words("Endpoint", "method") == set(answers.Method.__args__)
    assert _words("Endpoint", "signing") == set(answers.Signing.__args__)
    assert _words("Edge", "kind") == set(answers.EdgeKind.__args__)
    scopes = SCHEMAS["Key"]["properties"]["scopes"]["items"]["enum"]
    assert set(scopes) == set(answers.Scope.__args__)


def _words(schema: str, name: str) -> set[str]:
    return set(SCHEMAS[schema]["properties"][name]["enum"])


def test_fields_that_come_later_are_passed_over():
    read = decode(answers.Cursor, {"cursor": 1, "head_offset": 2, "unread": 1, "new": [1]})
    assert read == answers.Cursor(cursor=1, head_offset=2, unread=1)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"cursor": 1, "head_offset": 2}, "Cursor has no 'unread'"),
        ({"cursor": "1", "head_offset": 2, "unread": 1}, "Cursor.cursor should be int"),
        ({"cursor": True, "head_offset": 2, "unread": 1}, "Cursor.cursor should be int"),
        ([], "Cursor should be object"),
    ],
)
def test_what_is_no_answer_is_told_with_its_place(value: object, told: str):
    with pytest.raises(UnexpectedAnswer, match=told):
        decode(answers.Cursor, value)


def test_places_inside_lists_and_objects_are_named():
    with pytest.raises(UnexpectedAnswer, match=r"Users\.items\[1\] should be str"):
        decode(answers.Users, {"items": ["a", 1], "next": None})
    queue = SCHEMAS["Stats"]["examples"][0]
    lease = {**queue["leases"][0], "shard": "0"}
    with pytest.raises(UnexpectedAnswer, match=r"Stats\.leases\[0\]\.shard should be int"):
        decode(answers.Stats, {**queue, "leases": [lease]})


def test_what_is_exported_exists_and_is_documented():
    for name in moments_client.__all__:
        assert getattr(moments_client, name).__doc__, name
    assert messages.Position(3).epoch is None
