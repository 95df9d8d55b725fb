"""Holds frames and webhooks against the service's own description of them."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jsonschema import Draft7Validator

from app.api.app import push_description
from app.receiver import Received

DOCUMENT: dict[str, Any] = json.loads(push_description())


def messages_of(operation: str) -> dict[str, dict[str, Any]]:
    """The messages of an operation, by name."""
    found = (resolved(ref) for ref in DOCUMENT["operations"][operation]["messages"])
    return {message["name"]: message for message in map(resolved, found)}


def resolved(value: Mapping[str, Any]) -> Any:
    """What a reference leads to; anything else is that itself."""
    if "$ref" not in value:
        return value
    found: Any = DOCUMENT
    for part in value["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


@cache
def _validator(schema: str) -> Draft7Validator:
    return Draft7Validator({**json.loads(schema), "components": DOCUMENT["components"]})


def validator(schema: Mapping[str, Any]) -> Draft7Validator:
    # Beside a reference nothing else counts in draft 7.
    inner = {"allOf": [schema]}
    return _validator(json.dumps(inner))


def name_of(operation: str, payload: Any) -> str:
    """Which message of an operation it is. Fails unless it is exactly one."""
    messages = messages_of(operation)
    fits = [
        name
        for name, message in messages.items()
        if validator(message["payload"]).is_valid(payload)
    ]
    if len(fits) != 1:
        told = {
            name: [error.message for error in validator(message["payload"]).iter_errors(payload)]
            for name, message in messages.items()
        }
        raise AssertionError(f"{payload} is {fits or 'none of these'}: {told}")
    return fits[0]


def check_webhook(received: Received, operation: str = "deliver") -> None:
    """A request that came has the headers and the body of the operation's message."""
    [message] = messages_of(operation).values()
    validator(message["headers"]).validate(dict(received.headers))
    validator(message["payload"]).validate(payload_of(received))


def payload_of(received: Received) -> Any:
    """The fields of a webhook: its body, or its query with `data` as JSON."""
    if received.method != "GET":
        assert received.headers["content-type"] == "application/json"
        return received.json()
    fields: dict[str, Any] = {
        name: values[0] for name, values in parse_qs(urlsplit(received.target).query).items()
    }
    fields["data"] = json.loads(fields["data"])
    if "offset" in fields:
        fields["offset"] = int(fields["offset"])
    return fields
