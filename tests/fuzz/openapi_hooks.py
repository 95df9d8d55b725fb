"""What schemathesis has to know of the api that its description cannot say. It imports this."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis.openapi.checks import RejectedPositiveData

from app.api.schemas.examples import ENDPOINT
from app.domain.headers import SIZE_MAX, check_headers
from app.domain.ids import is_endpoint_id
from app.errors import HeadersRejected

RECEIVER = os.environ["FUZZ_RECEIVER"]  # where all webhooks go, http://HOST:PORT
OWN_KEY = os.environ["FUZZ_OWN_KEY"]  # id of the key that this run calls with
UNVERIFIED = os.environ["FUZZ_UNVERIFIED"]  # id of an endpoint that nobody else is like
WAIT_S_MAX = 0.05
NO_KEY, NO_ENDPOINT = "000000000000", "0000000000"

schemathesis.openapi.format(
    "uri", st.from_regex(r"/[a-z0-9]{0,8}", fullmatch=True).map(RECEIVER.__add__)
)


@schemathesis.hook
def before_load_schema(_: Any, raw_schema: dict[str, Any]) -> None:
    """Sends the webhooks of the description's examples to the receiver, too."""
    told = json.dumps(raw_schema).replace(ENDPOINT["url"], RECEIVER)
    raw_schema.update(json.loads(told))


@schemathesis.serializer("application/x-ndjson")
def as_line(_: Any, value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


@schemathesis.hook
def before_call(_: Any, case: Any, __: Any) -> None:
    """Waits that may be long are short, what the run needs stays, and who can be verified is."""
    path, operation = case.path_parameters or {}, f"{case.method} {case.path}"
    if case.query and _is_long_wait(case.query.get("wait_s")):
        case.query["wait_s"] = WAIT_S_MAX
    if path.get("key") == OWN_KEY:
        path["key"] = NO_KEY
    if operation == "DELETE /v1/endpoints/{endpoint}" and path.get("endpoint") == UNVERIFIED:
        path["endpoint"] = NO_ENDPOINT
    if operation == "POST /v1/endpoints/{endpoint}:verify" and is_endpoint_id(
        str(path.get("endpoint"))
    ):
        path["endpoint"] = UNVERIFIED


def _is_long_wait(value: Any) -> bool:
    try:
        return WAIT_S_MAX < float(value) <= 30
    except (TypeError, ValueError):
        return False


@schemathesis.hook
def filter_failure(_: Any, failure: Any, case: Any, __: Any) -> bool:
    """Passes over a refusal where the request breaks a rule that a JSON Schema cannot state."""
    refused = isinstance(failure, RejectedPositiveData)
    return not (refused and any(breaks(case) for breaks in BROKEN_RULES))


def is_about_one_user_twice(case: Any) -> bool:
    """Nobody can be friends with, follow or block themselves."""
    path: Mapping[str, str] = case.path_parameters or {}
    return "other" in path and path["other"] == path.get("user")


def asks_for_headers_that_cannot_be(case: Any) -> bool:
    """No two names that differ only in case, none of the sender's own, so many bytes in all."""
    headers: Any = case.body.get("headers") if isinstance(case.body, dict) else None
    if not isinstance(headers, dict):
        return False
    size = sum(len(name) + len(value) + 4 for name, value in headers.items())
    names = [name.lower() for name in headers]
    return size > SIZE_MAX or len(set(names)) < len(names) or any(map(_is_the_senders, names))


def _is_the_senders(name: str) -> bool:
    try:
        check_headers({name: ""})
    except HeadersRejected:
        return True
    return False


def holds_a_number_beyond_64_bits(case: Any) -> bool:
    """Whole ones are refused unless they are written like 1e22, which to a JSON Schema is one."""
    return any(
        isinstance(value, int) and not -(2**63) <= value < 2**64 for value in _values(case.body)
    )


def _values(value: Any) -> Iterable[Any]:
    yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        yield from _values(one)


def recovers_no_time_at_all(case: Any) -> bool:
    """`since` comes before `until`, or before now."""
    body: Any = case.body
    if not (isinstance(body, dict) and isinstance(body.get("since"), str)):
        return False
    until = datetime.fromisoformat(body["until"]) if body.get("until") else datetime.now(UTC)
    return datetime.fromisoformat(body["since"]) >= until


BROKEN_RULES: tuple[Callable[[Any], bool], ...] = (
    is_about_one_user_twice,
    asks_for_headers_that_cannot_be,
    holds_a_number_beyond_64_bits,
    recovers_no_time_at_all,
)
