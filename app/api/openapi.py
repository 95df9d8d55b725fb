"""The API's description: an OpenAPI 3.1 document made from the table of calls and its models."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from app import __version__
from app.api.auth import Access
from app.api.call import Call
from app.api.lines import Lines
from app.api.links import links_from
from app.api.posts import IDEMPOTENCY_KEY
from app.api.schemas import examples
from app.api.schemas.fields import Nothing
from app.api.schemas.graph import Edge
from app.api.schemas.operations import ProblemDocument
from app.api.schemas.webhooks import TRACEPARENT, WEBHOOK_HEADERS, Webhook
from app.api.story import STORY, Step, told_of
from app.domain.ids import DELIVERY_ID, ENDPOINT_ID, KEY_ID, POST_ID, USER_ID

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
_SUMMARY_MAX = 72
_DONE = {
    200: "As asked.",
    201: "It is made.",
    202: "It is accepted, and happens soon.",
    204: "It is done.",
}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Sent again within 24 hours, the first answer is given again.",
    "schema": {
        "type": "string",
        "pattern": f"^{IDEMPOTENCY_KEY.pattern}$",
        "examples": ["7c1f0a52"],
    },
}
_REPLAYED = {
    "Idempotency-Replayed": {
        "description": "`true` on an answer that was given before.",
        "schema": {"type": "string"},
    }
}
_RATE_HEADERS = {
    "RateLimit-Limit": "How many requests this key or user may send at once, after a rest.",
    "RateLimit-Remaining": "How many of them are left now.",
    "RateLimit-Reset": "In so many seconds all of them are back.",
}
_RATE_HEADER_REFS = {name: {"$ref": f"#/components/headers/{name}"} for name in _RATE_HEADERS}
# What each parameter of a path looks like, and an example of it.
_PATH_PARAMETERS = {
    "user": (USER_ID, "bob"),
    "other": (USER_ID, "ann"),
    "post": (POST_ID, examples.POST_ID),
    "endpoint": (ENDPOINT_ID, examples.ENDPOINT_ID),
    "delivery": (DELIVERY_ID, examples.DELIVERY_ID),
    "key": (KEY_ID, examples.KEY_ID),
}
# Calls that can be understood and still not be done as things stand.
_CONFLICTS = frozenset(
    {
        *("posts_accept", "posts_edit", "endpoints_create", "keys_create", "tokens_create"),
        *("graph_befriend", "graph_follow", "graph_block"),
        *("endpoints_enable", "endpoints_ping", "endpoints_verify"),
    }
)

Refs = Mapping[tuple[Any, JsonSchemaMode], dict[str, Any]]


class _Schemas(GenerateJsonSchema):
    """Without titles of fields, which only say their names again."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


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
        "webhooks": {"event": {"post": _webhook(refs)}},
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "`mk_…`"},
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            },
            "headers": {name: _rate_header(text) for name, text in _RATE_HEADERS.items()},
            "responses": _problems(refs),
        },
    }


def _schemas(calls: Iterable[Call]) -> tuple[Refs, dict[str, Any]]:
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {
        (ProblemDocument, "serialization"): None,
        (Webhook, "serialization"): None,
        (Edge, "validation"): None,
    }
    for call in calls:
        if call.model is not None:
            wanted[call.model, "serialization"] = None
        if call.body is not Nothing and call.body is not Lines:
            wanted[call.body, "validation"] = None
    refs, definitions = models_json_schema(
        list(wanted), ref_template=_REF, schema_generator=_Schemas
    )
    return refs, definitions["$defs"]


def _operation(call: Call, refs: Refs) -> dict[str, Any]:
    told = inspect.getdoc(call.handler) or ""
    operation: dict[str, Any] = {
        "operationId": _operation_id(call),
        "summary": _summary(told),
        "tags": [_resource(call)],
        "parameters": _with_examples(
            [*_path_parameters(call), *_query_parameters(call.query)], _operation_id(call)
        ),
        "responses": _responses(call, refs),
        "security": _security(call.access),
    }
    # What the summary says already is not said again.
    more = "" if " ".join(told.split()).rstrip(".") == operation["summary"] else told
    description = "\n\n".join(text for text in (more, _ACCESS.get(call.access)) if text)
    if description:
        operation["description"] = description
    if _operation_id(call) == "posts_accept":
        operation["parameters"].append(_IDEMPOTENCY_KEY)
    if call.body is Lines:
        operation["requestBody"] = _lines_body(refs, told_of(_operation_id(call)))
    elif call.body is not Nothing:
        content: dict[str, Any] = {"schema": refs[call.body, "validation"]}
        # What is refused stands with its answer.
        taken = [step for step in told_of(_operation_id(call)) if step.status == call.status]
        if taken:
            content["examples"] = _examples(taken, lambda step: step.body)
        operation["requestBody"] = {
            "required": not call.takes_nothing,
            "content": {"application/json": content},
        }
    return operation


def _summary(told: str) -> str:
    """The first sentence, or what stands before its first colon when it is long."""
    sentence = " ".join(told.split()).partition(". ")[0].rstrip(".")
    return sentence if len(sentence) <= _SUMMARY_MAX else re.split("[:;]", sentence)[0]


def _examples(steps: Iterable[Step], of: Callable[[Step], Any]) -> dict[str, Any]:
    """Named alike wherever they belong to one call: its parameters, its body, its answer."""
    return {step.name: {"summary": step.title, "value": of(step)} for step in steps}


def _with_examples(parameters: list[dict[str, Any]], operation: str) -> list[dict[str, Any]]:
    for parameter in parameters:
        name = parameter["name"]
        where = "path" if parameter["in"] == "path" else "query"
        steps = [step for step in told_of(operation) if name in getattr(step, where)]
        if steps:
            parameter["examples"] = {
                step.name: {"summary": step.title, "value": getattr(step, where)[name]}
                for step in steps
            }
    return parameters


def _resource(call: Call) -> str:
    name = call.handler.__module__.rpartition(".")[2]
    return name if name in _TAGS else "operations"


def _operation_id(call: Call) -> str:
    return f"{_resource(call)}_{call.handler.__name__}"


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
    pattern, shown = _PATH_PARAMETERS[name]
    return {"type": "string", "pattern": f"^{pattern.pattern}$", "examples": [shown]}


def _query_parameters(query: type[BaseModel]) -> list[dict[str, Any]]:
    schema = query.model_json_schema(schema_generator=_Schemas)
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _given(field)}
        for name, field in schema.get("properties", {}).items()
    ]


def _given(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is a value or left out; there is no null in a query."""
    shown = dict(schema)
    choices = [choice for choice in shown.pop("anyOf", []) if choice != {"type": "null"}]
    if len(choices) == 1:
        shown = {**choices[0], **shown}
    if shown.get("default", 0) is None:
        del shown["default"]
    return shown


def _responses(call: Call, refs: Refs) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": _DONE[call.status]}
    if call.model is not None:
        schema = refs[call.model, "serialization"]
        answer["content"] = {"application/json": {"schema": schema}}
        steps = [one for one in told_of(_operation_id(call)) if one.status == call.status]
        if steps:
            examples = _examples(steps, lambda step: step.answer)
            answer["content"]["application/json"]["examples"] = examples
    elif call.status == 200:
        answer["content"] = {"text/plain": {"schema": {"type": "string"}}}
    headers = {} if call.access is Access.PUBLIC else {**_RATE_HEADER_REFS}
    if _operation_id(call) == "posts_accept":
        headers |= _REPLAYED
    if headers:
        answer["headers"] = headers
    problems = {str(status): _problem_ref(status) for status in sorted(_statuses(call))}
    if links := links_from(_operation_id(call)):
        answer["links"] = links
    return {str(call.status): answer, **problems}


def _statuses(call: Call) -> set[int]:
    """The error answers a call can give; 500 is a mistake of ours."""
    # A body that is not wanted is looked at, too; 429 is also for an address's connections.
    statuses = {400, 408, 413, 415, 422, 429, 431, 500}
    if call.access is not Access.PUBLIC:
        statuses |= {401, 403, 503}
    if call.parameters:  # with an empty one, or a slash in it, the path is another
        statuses.add(404)
    if _operation_id(call) in _CONFLICTS:
        statuses.add(409)
    if _operation_id(call) == "operations_ready":
        statuses.add(503)
    return statuses


def _rate_header(text: str) -> dict[str, Any]:
    return {"description": text, "schema": {"type": "integer", "minimum": 0}}


def _problem_name(status: int) -> str:
    return {401: "Unauthenticated", 429: "TooMany", 503: "Later"}.get(status, "Problem")


def _problem_ref(status: int) -> dict[str, Any]:
    return {"$ref": f"#/components/responses/{_problem_name(status)}"}


def _problems(refs: Refs) -> dict[str, Any]:
    def content(name: str) -> dict[str, Any]:
        refused = [step for step in STORY if step.status >= 400]
        steps = [step for step in refused if _problem_name(step.status) == name]
        shown: dict[str, Any] = {"schema": refs[ProblemDocument, "serialization"]}
        return {_PROBLEM_TYPE: {**shown, "examples": _examples(steps, lambda step: step.answer)}}

    text = {"type": "string"}
    seconds = {"type": "integer", "minimum": 1}
    return {
        "Problem": {
            "description": "What went wrong, as problem details (RFC 9457).",
            "content": content("Problem"),
        },
        "Unauthenticated": {
            "description": "A valid key or token is needed.",
            "headers": {"WWW-Authenticate": {"required": True, "schema": text}},
            "content": content("Unauthenticated"),
        },
        "TooMany": {
            "description": "More than may be: requests of this key or user, posts of this author, "
            "long polls of this user, or connections, wrong keys and wrong tokens of this address. "
            "After so many seconds there may be another. `RateLimit-*` are about requests, and "
            "there is none for who has no limit.",
            "headers": {
                "Retry-After": {"required": True, "schema": seconds},
                **_RATE_HEADER_REFS,
            },
            "content": content("TooMany"),
        },
        "Later": {
            "description": "It cannot be done now; after so many seconds it may be.",
            "headers": {"Retry-After": {"required": True, "schema": seconds}},
            "content": content("Later"),
        },
    }


def _lines_body(refs: Refs, steps: Iterable[Step]) -> dict[str, Any]:
    """The schema is of one line, and so is each example."""
    lines = {
        f"{step.name}-{number}": {"summary": f"{step.title}: line {number}", "value": line}
        for step in steps
        for number, line in enumerate(step.body, 1)
    }
    return {
        "required": False,
        "description": "One edge a line. A mistake in a line stops no other.",
        "content": {
            "application/x-ndjson": {"schema": refs[Edge, "validation"], "examples": lines}
        },
    }


def _webhook(refs: Refs) -> dict[str, Any]:
    """The request that an endpoint gets."""
    schema = refs[Webhook, "serialization"]
    return {
        "operationId": "webhook_event",
        "summary": "An event on its way to an endpoint",
        "description": inspect.getdoc(Webhook),
        "tags": ["endpoints"],
        "security": [],
        "parameters": [
            {"name": name, "in": "header", "required": True, "description": text, "schema": schema}
            for name, text, schema in WEBHOOK_HEADERS
        ]
        + [TRACEPARENT],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "2XX": {"description": "It has arrived. Any answer within 15 seconds will do."},
            "410": {"description": "Nothing more is to be sent here: the endpoint is disabled."},
            "default": {
                "description": "Sent again later; with 429 or 503 not before its `Retry-After`."
            },
        },
    }
