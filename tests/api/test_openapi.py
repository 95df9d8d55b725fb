from openapi_spec_validator import validate

from app import __version__
from app.api.auth import Access
from app.api.openapi import document
from app.api.routes import CALLS
from tests.api.conftest import Api


async def test_the_description_is_served_to_anybody_and_is_valid(single_api: Api):
    async with single_api.client(None) as client:
        answer = await client.get("/openapi.json")
    assert answer.status_code == 200
    described = answer.json()
    validate(described)
    assert described["openapi"].startswith("3.1")
    assert described["info"]["version"] == __version__
    assert described == document(CALLS)


def test_every_call_is_described_once_with_what_it_takes():
    paths = document(CALLS)["paths"]
    described = {(method.upper(), path) for path, item in paths.items() for method in item}
    assert described == {(call.method, call.path) for call in CALLS}
    ids = [operation["operationId"] for item in paths.values() for operation in item.values()]
    assert len(ids) == len(set(ids))
    for call in CALLS:
        operation = paths[call.path][call.method.lower()]
        named = {p["name"] for p in operation["parameters"] if p["in"] == "query"}
        assert named == set(call.query.model_fields)
        assert {p["name"] for p in operation["parameters"] if p["in"] == "path"} == set(
            call.parameters
        )
        assert bool(operation["security"]) is (call.access is not Access.PUBLIC)


def test_limits_of_parameters_are_described():
    feed = document(CALLS)["paths"]["/v1/users/{user}/feed"]["get"]
    schemas = {p["name"]: p["schema"] for p in feed["parameters"]}
    assert schemas["limit"]["type"] == "integer"
    assert (schemas["limit"]["minimum"], schemas["limit"]["maximum"]) == (1, 200)
    assert (schemas["limit"]["default"], schemas["wait_s"]["maximum"]) == (50, 30)
    assert schemas["after"]["minimum"] == 0


def test_bodies_are_described_with_unknown_fields_forbidden():
    schemas = document(CALLS)["components"]["schemas"]
    for name in ("NewPost", "Audience", "NewEndpoint", "EndpointChange", "CursorMove", "Edge"):
        assert schemas[name]["additionalProperties"] is False
    assert set(schemas["NewPost"]["required"]) == {"author", "data"}
    assert set(schemas["Audience"]["properties"]) == {"only", "except"}
