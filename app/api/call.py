"""A call of the API: what the table says about it, and how a request becomes its answer."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Generic, TypeVar, get_args, get_type_hints
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from app.api.answers import Answer
from app.api.auth import Access, Caller, Doorkeeper
from app.api.body import (
    JSON_TYPES,
    LINES_TYPES,
    check_encoding,
    check_type,
    is_announced,
    read,
)
from app.api.deadline import within
from app.api.lines import Lines
from app.api.problems import (
    INVALID,
    MALFORMED,
    METHOD_NOT_ALLOWED,
    Problem,
    invalid,
    not_found,
    problem_of,
)
from app.api.rates import Told
from app.api.schemas.fields import Nothing, problem_of_validation
from app.api.services import Services
from app.api.stats import CLIENT_GONE
from app.api.strict_json import parse
from app.domain.ids import is_endpoint_id, is_key_id, is_post_id, is_user_id, parse_delivery_id

QUERY_FIELDS_MAX = 16

Q = TypeVar("Q", bound=BaseModel)
B = TypeVar("B")

T = TypeVar("T")

_NOTHING = Nothing()
# Two of these would be two meanings, of which a proxy may have taken the other.
_SINGLE_HEADERS = frozenset(
    {b"authorization", b"content-type", b"content-encoding", b"idempotency-key"}
)

# How each parameter of a path looks. A user id that cannot be one is a mistake of the caller's;
# an id of ours that we never gave out is simply not there.
_IS_OURS: dict[str, Callable[[str], object]] = {
    "post": is_post_id,
    "endpoint": is_endpoint_id,
    "delivery": parse_delivery_id,
    "key": is_key_id,
}
USER_PARAMETERS = frozenset({"user", "other"})
OWN_PARAMETERS = frozenset(_IS_OURS)


@dataclass(frozen=True, slots=True)
class Ask(Generic[Q, B]):
    """A request whose caller, path, query and body have been checked."""

    services: Services
    caller: Caller
    path: Mapping[str, str]
    query: Q
    body: B
    headers: Mapping[bytes, bytes]
    receive: Receive


Handler = Callable[[Ask[Any, Any]], Awaitable[Answer]]


def _no_wait(_: Ask[Any, Any]) -> float:
    return 0.0


@dataclass(frozen=True, slots=True)
class Call:
    """A row of the table. `model` is that of the answer, None for one that is no JSON.

    `waits_s` says how long the call may wait on purpose before it is expected to answer, None for
    as long as it likes. What it takes is read off the handler,
    `async def handler(ask: Ask[Query, Body])`: `query` is a model, `body` a model, `Lines`, or
    `Nothing`.
    """

    method: str
    path: str
    access: Access
    handler: Handler
    status: int
    model: type[BaseModel] | None = None
    waits_s: Callable[[Ask[Any, Any]], float | None] = field(default=_no_wait)
    query: type[BaseModel] = field(init=False)
    body: type[Any] = field(init=False)

    def __post_init__(self) -> None:
        ask = next(iter(get_type_hints(self.handler).values()))
        query, body = get_args(ask)
        object.__setattr__(self, "query", query)
        object.__setattr__(self, "body", body)

    @property
    def parameters(self) -> list[str]:
        """The names in the path."""
        return re.findall(r"{(\w+)}", self.path)

    @property
    def takes_nothing(self) -> bool:
        """Whether an empty body will do: no field of it is required."""
        if not issubclass(self.body, BaseModel):
            return True
        return not any(field.is_required() for field in self.body.model_fields.values())


class Resource:
    """The calls of one path, as an ASGI application."""

    def __init__(self, calls: Sequence[Call], services: Services, doorkeeper: Doorkeeper) -> None:
        self._services = services
        self._doorkeeper = doorkeeper
        self._stats = services.stats
        self._calls = {call.method: call for call in calls}
        self._parameters = calls[0].parameters
        self._takes_nothing = {call.method: call.takes_nothing for call in calls}
        head = ("HEAD",) if "GET" in self._calls else ()
        self._allow = ", ".join(sorted((*self._calls, *head, "OPTIONS")))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        stats = self._stats
        stats.open += 1
        status = CLIENT_GONE
        try:
            answer, has_waited = await self._answer(scope, receive)
            await answer.send(send, head_only=scope["method"] == "HEAD")
            status = answer.status
            if not has_waited:
                stats.time.observe(perf_counter() - started)
        except ClientDisconnect:
            pass  # nobody is left to answer; it is counted as such
        finally:
            stats.open -= 1
            stats.by_status[status] += 1

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[Answer, bool]:
        """The answer, and whether it had leave to wait for something to happen."""
        waits_s: float | None = 0.0
        told: Told = {}
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        call = self._calls.get(method)
        try:
            if call is None:
                return self._without_call(scope["method"]), False
            headers, doorkeeper = read_headers(scope["headers"]), self._doorkeeper
            caller = await doorkeeper.identify(call.access, headers.get(b"authorization"), scope)
            told = doorkeeper.count(caller)
            doorkeeper.check(call.access, caller, scope["path_params"])
            ask = await self._ask(call, caller, headers, scope, receive)
            waits_s = call.waits_s(ask)
            answer = await self._in_time(call.handler(ask), waits_s)
        except ClientDisconnect:
            raise
        except Exception as error:
            problem = problem_of(error)
            self._stats.refusals.note(problem.kind, problem.detail)
            answer = problem.answer()
        return answer.telling(told), waits_s != 0.0

    async def _in_time(self, work: Awaitable[T], waits_s: float | None = 0.0) -> T:
        limit_s = self._services.limits.answer_timeout_s
        return await within(None if waits_s is None else waits_s + limit_s, work)

    def _without_call(self, method: str) -> Answer:
        if method == "OPTIONS":
            return Answer(204, headers=((b"allow", self._allow.encode()),))
        detail = f"Here are: {self._allow}."
        raise Problem(METHOD_NOT_ALLOWED, detail, headers={"Allow": self._allow})

    async def _ask(
        self,
        call: Call,
        caller: Caller,
        headers: Mapping[bytes, bytes],
        scope: Scope,
        receive: Receive,
    ) -> Ask[Any, Any]:
        path = scope["path_params"]
        for name in self._parameters:
            check_parameter(name, path[name])
        query = read_query(call.query, scope["query_string"])
        body = await self._body(call, headers, receive)
        return Ask(self._services, caller, path, query, body, headers, receive)

    async def _body(self, call: Call, headers: Mapping[bytes, bytes], receive: Receive) -> Any:
        model, limits = call.body, self._services.limits
        check_encoding(headers)
        if model is Lines:
            check_type(headers, LINES_TYPES)
            bytes_max = limits.import_line_bytes_max
            return Lines(receive, line_bytes_max=bytes_max, timeout_s=limits.body_timeout_s)
        if model is Nothing and not is_announced(headers):
            return _NOTHING
        raw = await read(
            headers, receive, bytes_max=limits.body_bytes_max, timeout_s=limits.body_timeout_s
        )
        if not raw and self._takes_nothing[call.method]:
            return read_body(model, {})
        check_type(headers, JSON_TYPES)
        return read_body(model, parse(raw))


def read_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers by name. A 422 `Problem` for one of ours that stands there twice."""
    headers: dict[bytes, bytes] = {}
    for name, value in raw:
        if name in headers and name in _SINGLE_HEADERS:
            raise invalid(name.decode("ascii").title(), "stands twice among the headers")
        headers[name] = value
    return headers


def check_parameter(name: str, value: str) -> None:
    """A 422 or 404 `Problem` for a path with something that is no id."""
    if name in USER_PARAMETERS:
        if not is_user_id(value):
            raise invalid(name, "must be 1 to 64 of A-Z a-z 0-9 _ . : @ -")
    elif not _IS_OURS[name](value):
        raise not_found(name)


def read_query(model: type[Q], raw: bytes) -> Q:
    """The query parameters, or a 422 `Problem`."""
    try:
        if not raw:
            return model.model_validate({})
        return model.model_validate(_parameters(raw))
    except ValidationError as error:
        raise problem_of_validation(error) from None


def _parameters(raw: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            raw.decode("latin-1"), keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX
        )
    except ValueError:
        raise Problem(INVALID, f"At most {QUERY_FIELDS_MAX} query parameters are read.") from None
    values: dict[str, str] = {}
    for name, value in pairs:
        if name in values:
            raise invalid(name[:64], "stands twice in the query")
        values[name] = value
    return values


def read_body(model: type[Q], value: Any) -> Q:
    """A JSON value as a model, or a 400 or 422 `Problem`."""
    if not isinstance(value, dict):
        raise Problem(MALFORMED, "The body must be a JSON object.")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise problem_of_validation(error) from None
