"""Values that must not be taken, worked out from the description of what would be.

So a field that is added to a schema is tried with everything that it must refuse, whether
anybody thinks of it or not.
"""

import re
from collections.abc import Iterator
from typing import Any

from app.api.schemas.examples import ENDPOINT_ID, POSTED_AT, SECRET
from tests.api.description import DOCUMENT

SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
Schema = dict[str, Any]
Mistake = tuple[str, Any]  # where the mistake is, inside of the value, and the whole value

_TEXTS = ("", " ", "a b", "ä", "a\nb", "bob\n", "bob\x00", "\ud800", "x" * 65, "x" * 300)
_OF_OTHER_TYPES: dict[str, list[Any]] = {
    "string": [7, 1.5, True, ["x"], {"x": "y"}],
    "integer": ["1", 1.5, True, [1], {"x": 1}],
    "number": ["1.5", True, [1], {"x": 1}],
    "boolean": ["true", 1, [True], {}],
    "array": ["x", 7, True, {"0": "x"}],
    "object": ["x", 7, True, [{}]],
}


def resolve(schema: Schema) -> Schema:
    """The schema behind references, without its null."""
    if "$ref" in schema:
        return resolve(SCHEMAS[schema["$ref"].rpartition("/")[2]])
    choices = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
    if len(choices) == 1:
        return resolve(choices[0])
    assert not choices, "say how a choice between several is to be got wrong"
    return schema


def may_be_null(schema: Schema) -> bool:
    if "$ref" in schema:
        return may_be_null(SCHEMAS[schema["$ref"].rpartition("/")[2]])
    return {"type": "null"} in schema.get("anyOf", [])


def mistakes(schema: Schema, good: Any) -> Iterator[Mistake]:
    """Every way in which a value can miss its schema, one at a time. `good` would be taken."""
    inner = resolve(schema)
    if not may_be_null(schema):
        yield "", None
    yield from (("", value) for value in _OF_OTHER_TYPES[inner["type"]])
    match inner["type"]:
        case "string":
            yield from (("", text) for text in _bad_texts(inner))
        case "integer" | "number":
            yield from (("", number) for number in _bad_numbers(inner))
        case "array":
            yield from _bad_lists(inner, good)
        case "object":
            yield from _bad_objects(inner, good)


def _bad_texts(schema: Schema) -> Iterator[str]:
    yield "\ud800"
    if "enum" in schema:
        yield from (text for text in _TEXTS if text not in schema["enum"])
        yield from (word.swapcase() for word in schema["enum"])
    elif "pattern" in schema:
        yield from (text for text in _TEXTS if not re.search(schema["pattern"], text, re.ASCII))
    elif schema.get("format") == "date-time":
        yield from ("", "yesterday", "2026-01-01", "2026-01-01T00:00:00", "2026-02-30T00:00:00Z")
    if schema.get("minLength"):
        yield "x" * (schema["minLength"] - 1)
    if "maxLength" in schema:
        yield "x" * (schema["maxLength"] + 1)


def _bad_numbers(schema: Schema) -> Iterator[float]:
    yield schema["minimum"] - 1
    yield -(2**63)
    if "maximum" in schema:
        yield schema["maximum"] + 1
        yield 2**64 - 1


def _bad_lists(schema: Schema, good: list[Any]) -> Iterator[Mistake]:
    item = good[0]
    if schema.get("minItems"):
        yield "", [item] * (schema["minItems"] - 1)
    yield "", [item] * (schema["maxItems"] + 1)
    for where, bad in mistakes(schema["items"], item):
        yield f"[0]{where}", [bad]
        yield f"[1]{where}", [item, bad]


def _bad_objects(schema: Schema, good: dict[str, Any]) -> Iterator[Mistake]:
    properties: dict[str, Schema] = schema.get("properties", {})
    if properties:
        yield ".surprise", {**good, "surprise": 1}
        yield '.""', {**good, "": 1}
    for name, part in properties.items():
        if name in schema.get("required", []):
            yield f".{name}", {key: value for key, value in good.items() if key != name}
        for where, bad in mistakes(part, good.get(name, example(part))):
            yield f".{name}{where}", {**good, name: bad}
    if "not" in schema:
        together = schema["not"]["properties"]
        yield "", {**good, **{n: _such(part, properties[n]) for n, part in together.items()}}
    if "maxProperties" in schema:
        yield "", {f"x-{n}": "1" for n in range(schema["maxProperties"] + 1)}
    if "propertyNames" in schema:
        yield from (("", {name: "1"}) for name in _bad_texts(schema["propertyNames"]))
    values = schema.get("additionalProperties")
    if isinstance(values, dict):
        for where, bad in mistakes(values, ""):
            yield f".x-a{where}", {"x-a": bad}


def _such(part: Schema, of: Schema) -> Any:
    """A value of a field that is as `part` says."""
    return part["const"] if "const" in part else example(of)


def example(schema: Schema) -> Any:
    """A value that the schema allows."""
    inner = resolve(schema)
    if "examples" in inner:
        return inner["examples"][-1]
    match inner["type"]:
        case "string":
            return inner["enum"][0] if "enum" in inner else _example_text(inner)
        case "integer" | "number":
            return inner["minimum"]
        case "array":
            return [example(inner["items"])]
        case _:
            return {}


def _example_text(schema: Schema) -> str:
    texts = ("bob", "post.*", ENDPOINT_ID, POSTED_AT, SECRET)
    return next(text for text in texts if re.search(schema.get("pattern", ""), text))


def bad_parameters(schema: Schema) -> Iterator[str]:
    """Texts, percent-encoded, that a query parameter must refuse."""
    inner = resolve(schema)
    match inner["type"]:
        case "integer":
            yield from ("", "-1", "1.5", "ten", "+5", "1_0", "0x1", "01", "%D9%A1", "1%00", "1%0A")
            yield from ("NaN", "Infinity", "1e1", "9" * 30, "null", "%5B%5D")
            yield from map(str, _bad_numbers(inner))
        case "number":
            yield from (
                "",
                "-1",
                "ten",
                "nan",
                "inf",
                "1e999",
                "1e",
                "01",
                "0." + "0" * 31,
                "%D9%A1",
                "1%00",
                ".5",
                "1.",
                "9" * 30,
            )
            yield from map(str, _bad_numbers(inner))
        case _:
            yield from ("", "%00", "a%20b", "%C3%A4", "%FF", "x" * 300, "bob%0A", "%ED%A0%80")


def unbounded(schema: Schema, where: str) -> Iterator[str]:
    """Texts, lists and numbers for which the description states no bound."""
    inner = resolve(schema)
    match inner["type"]:
        case "string":
            stated = {"maxLength", "pattern", "enum", "format"} & set(inner)
            if not stated:
                yield where
        case "integer" | "number":
            if not {"minimum", "maximum"} <= set(inner):
                yield where
        case "array":
            if "maxItems" not in inner:
                yield where
            yield from unbounded(inner["items"], f"{where}[]")
        case "object":
            for name, part in inner.get("properties", {}).items():
                yield from unbounded(part, f"{where}.{name}")
            values = inner.get("additionalProperties")
            if isinstance(values, dict):
                yield from unbounded(values, f"{where}{{}}")
                if "maxProperties" not in inner:
                    yield where
