"""Holds every answer against the API's own description."""

import json
import re
from functools import cache
from typing import Any

import httpx
from jsonschema import Draft202012Validator

from app.api.app import description

DOCUMENT = json.loads(description())
_PATHS = {
    path: re.compile(re.sub(r"{(\w+)}", r"[^/]+", path))
    for path in sorted(DOCUMENT["paths"], key=lambda path: (-path.count(":"), path))
}


async def check_answer(answer: httpx.Response) -> None:
    """Fails when the description does not allow this answer to its request."""
    await answer.aread()
    method = answer.request.method.lower().replace("head", "get")
    operation = _operation(answer.request.url.path, method)
    if operation is None:
        assert answer.status_code in (204, 404, 405), "an answer of a call that is not described"
        return
    described = _response(operation, answer.status_code)
    for name, header in described.get("headers", {}).items():
        assert name in answer.headers or not header.get("required"), f"without {name}"
    content = described.get("content", {})
    if not content:
        assert answer.content == b""
        return
    type_ = answer.headers["content-type"].partition(";")[0]
    assert type_ in content, f"{answer.status_code} {type_} is not described"
    if type_.endswith("json") and answer.request.method != "HEAD":
        validator(content[type_]["schema"]["$ref"]).validate(answer.json())


@cache
def validator(ref: str) -> Draft202012Validator:
    """Checks values against a schema of the description."""
    return Draft202012Validator({"$ref": ref, "components": DOCUMENT["components"]})


def _response(operation: dict[str, Any], status: int) -> dict[str, Any]:
    responses = operation["responses"]
    described = responses[str(status)]
    if "$ref" in described:
        return DOCUMENT["components"]["responses"][described["$ref"].rpartition("/")[2]]
    return described


def _operation(path: str, method: str) -> dict[str, Any] | None:
    for template, pattern in _PATHS.items():
        if pattern.fullmatch(path):
            return DOCUMENT["paths"][template].get(method)
    return None
