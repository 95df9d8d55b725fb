"""The links of the description: where they lead, one comes, with what the answer holds."""

import re
from typing import Any
from urllib.parse import urlencode

import pytest

from app.api.app import ALL_CALLS
from app.api.call import Call
from app.api.links import links_from
from tests.api.conftest import Api
from tests.api.description import DOCUMENT
from tests.api.world import World, good_request, make_many

CALLS = {
    DOCUMENT["paths"][call.path][call.method.lower()]["operationId"]: call for call in ALL_CALLS
}
ANSWERS = dict.fromkeys(CALLS, (200, 201, 202, 204))
ANSWERS |= {"endpoints_ping": (503,), "endpoints_verify": (503,)}  # no sender runs here


def test_every_link_leads_to_an_operation_with_parameters_that_it_has():
    assert sum(len(links_from(operation)) for operation in CALLS) > 60
    for operation, call in CALLS.items():
        described = DOCUMENT["paths"][call.path][call.method.lower()]
        answer = described["responses"][str(call.status)]
        assert answer.get("links", {}) == links_from(operation)
        for link in links_from(operation).values():
            target = CALLS[link["operationId"]]
            known = {*target.parameters, *target.query.model_fields}
            assert set(target.parameters) <= set(link["parameters"]) <= known


@pytest.mark.parametrize(
    ("operation", "name"),
    [(operation, name) for operation in CALLS for name in links_from(operation)],
)
async def test_a_link_can_be_followed(single_api: Api, operation: str, name: str):
    call, link = CALLS[operation], links_from(operation)[name]
    world = await make_many(single_api)
    first = await ask(world, call, {"limit": 1} if "limit" in call.query.model_fields else {})
    assert first.status_code in ANSWERS[operation], first.text
    body = first.json() if first.content else None
    given = {key: found(world, text, body) for key, text in link["parameters"].items()}
    assert None not in given.values(), body
    target = CALLS[link["operationId"]]
    path = {key: given.pop(key) for key in target.parameters}
    answer = await ask(world, target, given, **path)
    expected = (404,) if operation == "endpoints_delete" else ANSWERS[link["operationId"]]
    assert answer.status_code in expected, answer.text


async def ask(world: World, call: Call, query: dict[str, Any], **path: str) -> Any:
    url = f"{world.url(call, **path)}?{urlencode(query)}"
    return await world.api.admin.request(call.method, url, **good_request(call))


def found(world: World, expression: str, body: Any) -> Any:
    """What a runtime expression of OpenAPI stands for."""
    if named := re.fullmatch(r"\$request\.path\.(\w+)", expression):
        return world.ids[named[1]]
    value = body
    for part in expression.removeprefix("$response.body#/").split("/"):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value
