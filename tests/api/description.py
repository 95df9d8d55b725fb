"""Holds every answer against the API's own description."""

import re
from functools import cache
from typing import Any

import httpx
from jsonschema import Draft202012Validator

from app.api.openapi import document
from app.api.routes import CALLS

DOCUMENT = document(CALLS)
_PATHS = {
    path: re.compile(re.sub(r"{(\w+)}", r"[^/]+", path))
    for path in sorted(DOCUMENT["paths"], key=lambda path: (-path.count(":"), path))
}


async def check_answer(answer: httpx.Response) -> None:
    """Fails when the description does not allow this answer to its request."""
    await answer.aread()
    if answer.request.url.path == "/openapi.json":
        return  # it is checked as a whole elsewhere
    method = answer.request.method.lower().replace("head", "get")
    operation = _operation(answer.request.url.path, method)
    if operation is None:
        assert answer.status_code in (204, 404, 405), "an answer of a call that is not described"
        return
    responses = operation["responses"]
    described = (
        responses.get(str(answer.status_code)) or DOCUMENT["components"]["responses"]["Problem"]
    )
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


def _operation(path: str, method: str) -> dict[str, Any] | None:
    for template, pattern in _PATHS.items():
        if pattern.fullmatch(path):
            return DOCUMENT["paths"][template].get(method)
    return None
