"""The page /docs: every call, frame and webhook, made from the two descriptions of the service.

Made once for a process, as nothing in it changes. It holds no secret, so nobody has to sign in.
"""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, cast
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request

from app.api.answers import Answer
from app.api.app import description, push_description
from app.api.story import Step, told_of
from app.console.frame import HTML
from app.domain.close_codes import CloseCode

_HOST: Final = "http://127.0.0.1:8000"
_ABOUT: Final = {
    "posts": "What authors publish, change and take back.",
    "deliveries": "Where each post is, for each recipient and channel; retry and replay.",
    "endpoints": "The webhook addresses of users, and how they fare.",
    "feed": "A user's log, to be pulled.",
    "graph": "Who is whose friend, who follows and who blocks whom.",
    "tokens": "What opens one user's feed and sockets.",
    "keys": "What opens the API.",
    "operations": "Health, figures, and the descriptions themselves.",
}


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text: plain, code, or the name of a schema that stands further down."""

    text: str
    is_code: bool = False
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A field or parameter: its name, what kind of value it has, and what there is to know."""

    name: str
    kind: Sequence[Piece]
    is_required: bool
    told: Sequence[Piece]
    limits: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """An example: what to send, and what comes of it."""

    title: str
    request: str
    status: int
    answer: str


@dataclass(frozen=True, slots=True)
class Operation:
    anchor: str
    method: str
    path: str
    summary: str
    told: Sequence[Sequence[Piece]]
    parameters: Sequence[Row]
    body: Sequence[Piece]
    fields: Sequence[Row]
    answers: Sequence[tuple[str, Sequence[Piece], Sequence[Piece]]]
    examples: Sequence[Shown]


@dataclass(frozen=True, slots=True)
class Message:
    anchor: str
    title: str
    told: Sequence[Piece]
    fields: Sequence[Row]
    examples: Sequence[str]


@cache
def page() -> bytes:
    """The whole page in UTF-8."""
    templates = Environment(
        loader=PackageLoader("app.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    calls, pushed = json.loads(description()), json.loads(push_description())
    schemas = {**pushed["components"]["schemas"], **calls["components"]["schemas"]}
    return (
        templates.get_template("reference.html")
        .render(
            version=calls["info"]["version"],
            groups=[_group(tag["name"], calls) for tag in calls["tags"]],
            refusals=[*_refusals(calls)],
            opening=[*_rows(pushed["channels"]["socket"]["bindings"]["ws"]["query"])],
            socket_told=pieces(_socket_told(pushed)),
            pushed=_messages(pushed, "push"),
            listened=_messages(pushed, "listen"),
            close_codes=list(CloseCode),
            headers=[*_rows(_webhook_headers(pushed))],
            webhooks=[
                message
                for operation in ("deliver", "ping", "challenge")
                for message in _messages(pushed, operation)
            ],
            schemas=[(name, *_schema(schema)) for name, schema in sorted(schemas.items())],
        )
        .encode()
    )


async def answer(_: Request) -> Answer:
    """For whoever calls the service: it needs no session, as nothing in it is secret."""
    return Answer(200, page(), HTML)


def pieces(text: str) -> list[Piece]:
    """A text whose code stands between backticks."""
    parts = " ".join(text.split()).split("`")
    return [Piece(part, bool(number % 2)) for number, part in enumerate(parts) if part]


_KINDS: Final = {
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
}


def kind_of(schema: Mapping[str, Any]) -> list[Piece]:
    """What a value is, in words: `text`, `list of Delivery`, `"hmac" or "ed25519"`."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return [Piece(name, anchor=f"schema-{name}")]
    if "anyOf" in schema:
        found: list[Piece] = []
        for choice in schema["anyOf"]:
            found += [Piece(" or "), *kind_of(choice)] if found else kind_of(choice)
        return found
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if values:
        told: list[Piece] = []
        for value in values:
            told += [Piece(" or ")] if told else []
            told.append(Piece(json.dumps(value), is_code=True))
        return told
    return _plain_kind(schema)


def _plain_kind(schema: Mapping[str, Any]) -> list[Piece]:
    match schema.get("type"):
        case "array":
            return [Piece("list of "), *kind_of(schema.get("items", {}))]
        case "object":
            inner = schema.get("additionalProperties")
            if isinstance(inner, dict):
                return [Piece("object of "), *kind_of(inner)]  # pyright: ignore[reportUnknownArgumentType]
            return [Piece("object")]
        case "string":
            formats = {"date-time": "time", "uri": "URL"}
            return [Piece(formats.get(schema.get("format", ""), "text"))]
        case name:
            return [Piece(_KINDS.get(name or "", "anything"))]


_LIMITS: Final = {
    "minimum": "from {:,}",
    "maximum": "to {:,}",
    "minLength": "{:,} characters or more",
    "maxLength": "{:,} characters at most",
    "minItems": "{:,} or more",
    "maxItems": "{:,} at most",
    "maxProperties": "{:,} at most",
}


def limits_of(schema: Mapping[str, Any]) -> str:
    """The limits of a value that may be left out or null are those of the value."""
    parts = [schema, *schema.get("anyOf", [])]
    found = [
        words.format(part[name])
        for part in parts
        for name, words in _LIMITS.items()
        if name in part
    ]
    if "default" in schema and schema["default"] is not None:
        found.append(f"default {json.dumps(schema['default'])}")
    return ", ".join(found)


def _rows(schema: Mapping[str, Any]) -> Iterator[Row]:
    for name, field in schema.get("properties", {}).items():
        yield Row(
            name,
            kind_of(field),
            name in schema.get("required", ()),
            pieces(field.get("description", "")),
            limits_of(field),
        )


def _schema(schema: Mapping[str, Any]) -> tuple[list[Piece], list[Row]]:
    return pieces(schema.get("description", "")), list(_rows(schema))


def _group(tag: str, calls: Mapping[str, Any]) -> tuple[str, str, list[Operation]]:
    operations = [
        _operation(method, path, operation, calls)
        for path, item in calls["paths"].items()
        for method, operation in item.items()
        if tag in operation["tags"]
    ]
    return tag, _ABOUT[tag], operations


def _operation(
    method: str, path: str, operation: Mapping[str, Any], calls: Mapping[str, Any]
) -> Operation:
    # What goes well first.
    steps = sorted(told_of(operation["operationId"]), key=lambda step: step.status >= 400)
    body: Mapping[str, Any] = {}
    for content in operation.get("requestBody", {}).get("content", {}).values():
        body = content["schema"]
    return Operation(
        anchor=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        told=[pieces(part) for part in _told(operation)],
        parameters=[_parameter(one) for one in operation["parameters"]],
        body=kind_of(body) if body else [],
        fields=list(_rows(_resolved(body, calls))) if body else [],
        answers=[*_answers(operation, calls)],
        examples=[_example(method, path, step) for step in steps],
    )


def _told(operation: Mapping[str, Any]) -> list[str]:
    """The paragraphs that say more than the summary."""
    paragraphs = operation.get("description", "").split("\n\n")
    return [part for part in paragraphs if part.rstrip(".") not in ("", operation["summary"])]


def _resolved(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in schema:
        return document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def _parameter(parameter: Mapping[str, Any]) -> Row:
    schema = parameter["schema"]
    told = parameter.get("description") or schema.get("description", "")
    return Row(
        parameter["name"],
        kind_of(schema),
        parameter["required"],
        pieces(told),
        limits_of(schema),
        parameter["in"],
    )


def _answers(
    operation: Mapping[str, Any], calls: Mapping[str, Any]
) -> Iterator[tuple[str, Sequence[Piece], Sequence[Piece]]]:
    """Status, what it means, what it holds. Refusals that mean the same stand together."""
    refusals: dict[str, list[str]] = {}
    for status, answer in operation["responses"].items():
        if "$ref" in answer:
            refusals.setdefault(answer["$ref"].rpartition("/")[2], []).append(status)
            continue
        kinds = [kind_of(content["schema"]) for content in answer.get("content", {}).values()]
        yield status, pieces(answer["description"]), kinds[0] if kinds else []
    for name, statuses in refusals.items():
        told = calls["components"]["responses"][name]["description"].partition(". ")[0].rstrip(".")
        link = Piece(name, anchor=f"refusal-{name}")
        yield ", ".join(statuses), pieces(f"{told}."), [link]


def _refusals(calls: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[Piece], Sequence[str]]]:
    for name, response in calls["components"]["responses"].items():
        [content] = response["content"].values()
        shown = [_json(example["value"]) for example in content["examples"].values()]
        yield name, pieces(response["description"]), shown


def _example(method: str, path: str, step: Step) -> Shown:
    target = f"{_HOST}{path.format(**step.path)}"
    if step.query:
        target += f"?{urlencode(step.query)}"
    words = ["curl", *([] if method == "get" else ["-X", method.upper()]), shlex.quote(target)]
    lines = [" ".join(words)]
    if step.has_key and "Authorization" not in step.headers:
        lines.append('-H "Authorization: Bearer $KEY"')
    lines += [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in step.headers.items()]
    if isinstance(step.body, list):
        edges = cast("list[Any]", step.body)
        text = "\n".join(json.dumps(line) for line in edges)
        lines.append(f"--data-binary {shlex.quote(text)}")
    elif step.body is not None:
        lines.append("-H 'Content-Type: application/json'")
        lines.append(f"-d {shlex.quote(json.dumps(step.body, ensure_ascii=False))}")
    answer = "" if step.answer is None else _json(step.answer)
    return Shown(step.title, " \\\n  ".join(lines), step.status, answer)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _socket_told(pushed: Mapping[str, Any]) -> str:
    """Without the close codes, which have a table."""
    return pushed["channels"]["socket"]["description"].partition(" Close codes:")[0]


def _webhook_headers(pushed: Mapping[str, Any]) -> Mapping[str, Any]:
    return pushed["components"]["messages"]["webhook.event"]["headers"]


def _messages(pushed: Mapping[str, Any], operation: str) -> list[Message]:
    described = pushed["operations"][operation]
    channel = described["channel"]["$ref"].rpartition("/")[2]
    found: list[Message] = []
    for ref in (*described["messages"], *described.get("reply", {}).get("messages", ())):
        name = ref["$ref"].rpartition("/")[2]
        message = pushed["components"]["messages"][f"{channel}.{name}"]
        is_sent = "headers" in message  # what an endpoint gets: when, its operation tells
        told = described["summary"] if is_sent else message["summary"]
        payload = _resolved(message["payload"], pushed)
        examples = [_json(example["payload"]) for example in message["examples"]]
        anchor = f"{channel}-{name}"
        found.append(
            Message(anchor, message["title"], pieces(told), list(_rows(payload)), examples)
        )
    return found
