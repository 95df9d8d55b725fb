import json
import re
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from app import __version__
from app.api.app import ALL_CALLS
from app.api.auth import Access
from app.api.call import check_parameter
from app.api.lines import Lines
from app.api.openapi import WEBHOOK_HEADERS, document
from app.api.schemas.fields import Nothing
from app.api.schemas.webhooks import TRACEPARENT
from app.domain.post import Event, EventKind, Post
from app.domain.traceparent import Traceparent
from app.wire import rfc3339, webhook_body
from tests.api.conftest import Api
from tests.api.description import DOCUMENT, validator
from tests.api.world import URL, make_world

RATE_HEADERS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
PATHS: dict[str, Any] = DOCUMENT["paths"]
OPERATIONS = [(call, PATHS[call.path][call.method.lower()]) for call in ALL_CALLS]


async def test_the_description_is_served_to_anybody_and_is_valid(single_api: Api):
    async with single_api.client(None) as client:
        answer = await client.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    described = answer.json()
    assert [str(error) for error in OpenAPIV31SpecValidator(described).iter_errors()] == []
    assert described["openapi"].startswith("3.1")
    assert described["info"]["version"] == __version__
    assert described == json.loads(json.dumps(document(ALL_CALLS)))


def test_every_call_is_described_once_with_what_it_takes():
    described = {(method.upper(), path) for path, item in PATHS.items() for method in item}
    assert described == {(call.method, call.path) for call in ALL_CALLS}
    assert len(described) == len(ALL_CALLS)
    ids = [operation["operationId"] for _, operation in OPERATIONS]
    assert len(ids) == len(set(ids))
    for call, operation in OPERATIONS:
        named = {p["name"] for p in operation["parameters"] if p["in"] == "query"}
        assert named == set(call.query.model_fields)
        in_path = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
        assert in_path == set(call.parameters)
        assert bool(operation["security"]) is (call.access is not Access.PUBLIC)
        assert ("requestBody" in operation) is (call.body is not Nothing)


@pytest.mark.parametrize(
    ("call", "operation"), OPERATIONS, ids=[operation["operationId"] for _, operation in OPERATIONS]
)
def test_every_call_says_what_it_does_and_what_it_answers(call, operation):
    assert 5 < len(operation["summary"]) < 100
    assert operation["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}
    responses = operation["responses"]
    assert {str(call.status), "500"} <= set(responses)
    assert "default" not in responses  # with it no status would be one too many
    content = responses[str(call.status)].get("content", {})
    assert bool(content) is (call.status != 204)
    if call.model is not None:
        schema = content["application/json"]["schema"]
        assert schema == {"$ref": f"#/components/schemas/{call.model.__name__}"}
    if call.access is not Access.PUBLIC:
        assert {"401", "403", "503"} <= set(responses)
    assert responses["429"] == {"$ref": "#/components/responses/TooMany"}
    if call.access is not Access.PUBLIC:
        assert set(RATE_HEADERS) <= set(responses[str(call.status)]["headers"])
    assert ("404" in responses) is bool(call.parameters)


def test_limits_of_parameters_are_described():
    feed = PATHS["/v1/users/{user}/feed"]["get"]
    schemas = {p["name"]: p["schema"] for p in feed["parameters"]}
    assert schemas["limit"]["type"] == "integer"
    assert (schemas["limit"]["minimum"], schemas["limit"]["maximum"]) == (1, 200)
    assert (schemas["limit"]["default"], schemas["wait_s"]["maximum"]) == (50, 30)
    assert schemas["after"]["minimum"] == 0


def test_bodies_are_described_with_unknown_fields_forbidden():
    for name in ("NewPost", "Audience", "NewEndpoint", "EndpointChange", "CursorMove", "Edge"):
        assert SCHEMAS[name]["additionalProperties"] is False
    assert set(SCHEMAS["NewPost"]["required"]) == {"author", "data"}
    assert set(SCHEMAS["Audience"]["properties"]) == {"only", "except"}


def test_what_may_be_absent_from_an_answer_is_never_null():
    delivery = SCHEMAS["Delivery"]
    assert delivery["properties"]["next_attempt_at"] == {"type": "string", "format": "date-time"}
    assert "next_attempt_at" not in delivery["required"]
    assert SCHEMAS["Feed"]["properties"]["gap"] == {"$ref": "#/components/schemas/Gap"}


@pytest.mark.parametrize("name", [name for name in SCHEMAS if SCHEMAS[name]["type"] == "object"])
def test_every_schema_has_examples_that_it_allows(name: str):
    if name in ("Description", "PushDescription"):
        return  # the document itself is its example
    shown = SCHEMAS[name]["examples"]
    assert shown
    for value in shown:
        validator(f"#/components/schemas/{name}").validate(value)
        missing = set(SCHEMAS[name]["properties"]) - set(value)
        assert missing.isdisjoint(SCHEMAS[name].get("required", ()))
        # An example with a name that the schema does not know shows something that is not there.
        assert set(value) <= set(SCHEMAS[name]["properties"])


def test_every_example_of_a_parameter_is_one():
    for _, operation in OPERATIONS:
        for parameter in operation["parameters"]:
            if parameter["in"] == "path":
                for value in parameter["schema"]["examples"]:
                    check_parameter(parameter["name"], value)
                    assert re.search(parameter["schema"]["pattern"], value)


def test_every_default_is_one_that_the_schema_allows():
    found = [
        (name, field, schema)
        for name, model in SCHEMAS.items()
        for field, schema in model.get("properties", {}).items()
        if "default" in schema
    ]
    assert len(found) > 10
    for name, field, schema in found:
        validator(f"#/components/schemas/{name}/properties/{field}").validate(schema["default"])


def test_a_body_is_required_where_none_at_all_is_refused():
    for call, operation in OPERATIONS:
        if "requestBody" in operation:
            assert operation["requestBody"]["required"] is not call.takes_nothing


async def test_a_call_whose_body_is_not_required_is_taken_without(single_api: Api):
    world = await make_world(single_api)
    for call, operation in OPERATIONS:
        if "requestBody" in operation:
            answer = await single_api.admin.request(call.method, world.url(call))
            required = operation["requestBody"]["required"]
            assert answer.status_code == (400 if required else call.status), (call, answer.text)


BODIES = [
    (call, value)
    for call in ALL_CALLS
    if call.body not in (Nothing, Lines)
    for value in SCHEMAS[call.body.__name__]["examples"]
]


@pytest.mark.parametrize(
    ("call", "value"),
    BODIES,
    ids=[f"{call.method} {call.path} {number}" for number, (call, _) in enumerate(BODIES)],
)
async def test_the_example_of_a_body_is_taken(single_api: Api, call, value):
    world = await make_world(single_api)
    if "url" in value:
        value = {**value, "url": URL}  # whose address the tests know
    answer = await single_api.admin.request(call.method, world.url(call), json=value)
    assert answer.status_code == call.status, answer.text


async def test_the_examples_of_lines_are_taken(single_api: Api):
    lines = "\n".join(json.dumps(value) for value in SCHEMAS["Edge"]["examples"])
    answer = await single_api.admin.post("/v1/graph:import", content=lines)
    assert answer.json()["created"] == len(SCHEMAS["Edge"]["examples"])


@pytest.mark.parametrize("kind", list(EventKind))
def test_the_webhook_is_described_as_it_is_sent(kind: EventKind):
    deleted = kind is EventKind.DELETED
    at_ms = 1_769_860_800_123
    post = Post("01kg9ys7g0d2pf2d03", "ann", "post", 1, at_ms, at_ms, b'{"a":1}', deleted)
    event = Event(post.id, 1, kind)
    sent = json.loads(webhook_body(post, event).for_recipient("bob", 12))
    validator("#/components/schemas/Webhook").validate(sent)
    assert sent["timestamp"] == rfc3339(at_ms)
    example = SCHEMAS["Webhook"]["examples"][0]
    assert set(sent) == set(example)
    assert set(sent["data"]["post"]) - {"deleted"} == set(example["data"]["post"])


def test_the_headers_of_a_webhook_are_described():
    request = DOCUMENT["webhooks"]["event"]["post"]
    named = {p["name"] for p in request["parameters"] if p["in"] == "header"}
    assert named == {*(name for name, _, _ in WEBHOOK_HEADERS), TRACEPARENT["name"]}
    required = {p["name"] for p in request["parameters"] if p["required"]}
    assert required == {"webhook-id", "webhook-timestamp", "webhook-signature", "moments-attempt"}
    [example] = TRACEPARENT["schema"]["examples"]
    assert re.fullmatch(TRACEPARENT["schema"]["pattern"], example)
    made = Traceparent(0xAB << 64, 0xCD, sampled=True).encode().decode()
    assert re.fullmatch(TRACEPARENT["schema"]["pattern"], made)
