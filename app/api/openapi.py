"""The API's description: an OpenAPI 3.1 document made from the table of calls and its models."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from app import __version__
from app.api.auth import Access
from app.api.call import USER_PARAMETERS, Call
from app.api.lines import Lines
from app.api.schemas.fields import Nothing
from app.api.schemas.graph import Edge
from app.api.schemas.operations import ProblemDocument
from app.domain.ids import USER_ID

_REF = "#/components/schemas/{model}"
_PROBLEM_TYPE = "application/problem+json"
_ACCESS = {
    Access.READ: "An API key with the scope `read` or `admin`.",
    Access.PUBLISH: "An API key with the scope `publish` or `admin`.",
    Access.ADMIN: "An API key with the scope `admin`.",
    Access.OWN_FEED: "The user's own token, or an API key with the scope `read` or `admin`.",
    Access.OWN_CURSOR: "The user's own token, or an API key with the scope `admin`.",
}
_TAGS = ("graph", "endpoints", "posts", "deliveries", "feed", "tokens", "keys", "operations")
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Sent again within 24 hours, the first answer is given again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


def document(calls: Iterable[Call]) -> dict[str, Any]:
    """The whole document, ready to be encoded."""
    rows = list(calls)
    refs, schemas = _schemas(rows)
    paths: dict[str, dict[str, Any]] = {}
    for call in rows:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call, refs)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "moments",
            "version": __version__,
            "description": "Pushes every post to every friend, and knows where each one is.",
        },
        "tags": [{"name": tag} for tag in _TAGS],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "`mk_…`"},
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            },
            "responses": {"Problem": _problem(refs)},
        },
    }


Refs = Mapping[tuple[Any, JsonSchemaMode], dict[str, Any]]


def _schemas(calls: Iterable[Call]) -> tuple[Refs, dict[str, Any]]:
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {
        (ProblemDocument, "serialization"): None,
        (Edge, "validation"): None,
    }
    for call in calls:
        if call.model is not None:
            wanted[call.model, "serialization"] = None
        if call.body is not Nothing and call.body is not Lines:
            wanted[call.body, "validation"] = None
    refs, definitions = models_json_schema(list(wanted), ref_template=_REF)
    return refs, definitions["$defs"]


def _operation(call: Call, refs: Refs) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(call),
        "tags": [call.handler.__module__.rpartition(".")[2]],
        "parameters": [*_path_parameters(call), *_query_parameters(call.query)],
        "responses": _responses(call, refs),
        "security": _security(call.access),
    }
    texts = [inspect.getdoc(call.handler), _ACCESS.get(call.access)]
    description = "\n\n".join(text for text in texts if text)
    if description:
        operation["description"] = description
    if call.path == "/v1/posts" and call.method == "POST":
        operation["parameters"].append(_IDEMPOTENCY_KEY)
    if call.body is Lines:
        operation["requestBody"] = _lines_body(refs)
    elif call.body is not Nothing:
        operation["requestBody"] = {
            "required": not call.takes_nothing,
            "content": {"application/json": {"schema": refs[call.body, "validation"]}},
        }
    return operation


def _operation_id(call: Call) -> str:
    resource = call.handler.__module__.rpartition(".")[2]
    return f"{resource}_{call.handler.__name__}"


def _security(access: Access) -> list[dict[str, list[str]]]:
    if access is Access.PUBLIC:
        return []
    owner = access in (Access.OWN_FEED, Access.OWN_CURSOR)
    return [{"key": []}, {"token": []}] if owner else [{"key": []}]


def _path_parameters(call: Call) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": _path_schema(name)}
        for name in call.parameters
    ]


def _path_schema(name: str) -> dict[str, Any]:
    if name in USER_PARAMETERS:
        return {"type": "string", "pattern": f"^{USER_ID.pattern}$"}
    return {"type": "string"}


def _query_parameters(query: type[BaseModel]) -> list[dict[str, Any]]:
    schema = query.model_json_schema()
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _given(field)}
        for name, field in schema.get("properties", {}).items()
    ]


def _given(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is a value or left out; there is no null in a query."""
    shown = {name: value for name, value in schema.items() if name != "title"}
    choices = [choice for choice in shown.pop("anyOf", []) if choice != {"type": "null"}]
    if len(choices) == 1:
        shown = {**choices[0], **shown}
    if shown.get("default", 0) is None:
        del shown["default"]
    return shown


def _responses(call: Call, refs: Refs) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": "Done."}
    if call.model is not None:
        schema = refs[call.model, "serialization"]
        answer["content"] = {"application/json": {"schema": schema}}
    elif call.status == 200:
        answer["content"] = {"text/plain": {"schema": {"type": "string"}}}
    return {str(call.status): answer, "default": {"$ref": "#/components/responses/Problem"}}


def _problem(refs: Refs) -> dict[str, Any]:
    schema = refs[ProblemDocument, "serialization"]
    return {
        "description": "What went wrong, as problem details (RFC 9457).",
        "content": {_PROBLEM_TYPE: {"schema": schema}},
    }


def _lines_body(refs: Refs) -> dict[str, Any]:
    edge = refs[Edge, "validation"]
    return {
        "required": True,
        "description": "One edge a line. A mistake in a line stops no other.",
        "content": {"application/x-ndjson": {"schema": edge}},
    }
