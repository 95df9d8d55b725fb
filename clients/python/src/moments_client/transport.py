"""One call of the API: sent, repeated where that is safe, its answer read or its problem raised."""

import asyncio
import json
import random
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Any, TypeVar, cast
from urllib.parse import quote, urlsplit

import httpx

from moments_client.backoff import full_jitter_s
from moments_client.decoding import decode
from moments_client.errors import (
    FieldError,
    MomentsError,
    NotFound,
    TooMany,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    problem_class,
)

T = TypeVar("T")

_REPEATABLE = frozenset({"GET", "PUT", "DELETE"})
_LATER = frozenset({502, 503, 504})  # 502 and 504 are those of a proxy in front
_MEMBERS = frozenset({"type", "title", "status", "detail", "errors", "instance"})
# The service ends connections that were idle for 5 s: what is sent just then would be lost.
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=2.0)
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Retries:
    """How calls are repeated.

    `deadline_s` bounds a call with all its repetitions, `attempt_s` one try of it. What a call
    itself waits for (`wait_s` of a feed) comes on top of both. Before each repetition there is a
    wait of anything up to `first_s`, doubled each time up to `longest_s` (full jitter), on top of
    what `Retry-After` asks for.
    """

    deadline_s: float = 30.0
    attempt_s: float = 10.0
    first_s: float = 0.2
    longest_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to send. `repeatable` None: as the method says. With `lines` a body is streamed, which
    can be done once and takes as long as it takes. `gone_is_done`: that there is no such thing
    (any more) is what a repeated request wanted."""

    method: str
    path: str
    query: Mapping[str, object] | None = None
    body: Mapping[str, Any] | None = None
    lines: AsyncIterable[bytes] | None = None
    headers: Mapping[str, str] | None = None
    repeatable: bool | None = None
    gone_is_done: bool = False
    waits_s: float = 0.0

    @property
    def may_be_repeated(self) -> bool:
        """Whether doing it twice does what doing it once does."""
        if self.lines is not None:
            return False
        return self.method in _REPEATABLE if self.repeatable is None else self.repeatable


class Transport:
    """Sends requests with a key, over one `httpx.AsyncClient`."""

    def __init__(
        self, url: str, key: str, *, retries: Retries, http: httpx.AsyncClient | None = None
    ) -> None:
        """`http` is closed by whoever made it. Raises ValueError for a URL that is none."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no URL such as http://127.0.0.1:8000")
        self.url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {key}", "accept": "application/json"}
        self._retries = retries
        self._http = http or httpx.AsyncClient(limits=_LIMITS)
        self._closes = http is None

    async def close(self) -> None:
        """Ends the connections, unless they are somebody else's."""
        if self._closes:
            await self._http.aclose()

    async def fetch(self, type_: type[T], request: Request) -> T:
        """The answer as a `type_`. Raises what `send` does."""
        response = await self.send(request)
        try:
            value = response.json()
        except ValueError:
            raise _no_answer_of_ours(response) from None
        return decode(type_, value)

    async def send(self, request: Request) -> httpx.Response:
        """A successful answer. Raises `ProblemError`, `Unreachable` or `UnexpectedAnswer`."""
        until = monotonic() + self._retries.deadline_s + request.waits_s
        failures, may_be_done = 0, False
        last: MomentsError | None = None
        while True:
            try:
                return await self._try(request, until - monotonic())
            except NotFound:
                if request.gone_is_done and may_be_done:
                    return httpx.Response(204)
                raise
            except MomentsError as error:
                if last is not None and monotonic() >= until:
                    raise last from error  # this try was cut short, and says less
                failures, last = failures + 1, error
                may_be_done |= not isinstance(error, TooMany)
                delay_s = self._delay_s(request, error, failures)
                if delay_s is None or monotonic() + delay_s >= until:
                    raise
            await asyncio.sleep(delay_s)

    def _delay_s(self, request: Request, error: MomentsError, failures: int) -> float | None:
        """How long to wait before it is sent again; None: it is not."""
        match error:
            case TooMany():  # it was refused, and has changed nothing
                again = request.lines is None
            case Unavailable():
                again = request.may_be_repeated
            case Unreachable():
                again = request.may_be_repeated or not (error.was_sent or request.lines)
            case _:
                again = False
        if not again:
            return None
        asked_s = getattr(error, "retry_after_s", None) or 0.0
        first_s, longest_s = self._retries.first_s, self._retries.longest_s
        jitter_s = full_jitter_s(failures, random.random(), first_s=first_s, longest_s=longest_s)
        return asked_s + jitter_s

    async def _try(self, request: Request, left_s: float) -> httpx.Response:
        limit_s = min(left_s, self._retries.attempt_s + request.waits_s)
        timeout_s = None if request.lines is not None else limit_s
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._http.send(self._build(request))
        except TimeoutError:
            raise Unreachable(
                f"{self.url} did not answer within {limit_s:.1f} s", was_sent=True
            ) from None
        except httpx.RequestError as error:
            told = str(error) or type(error).__name__
            never_sent = isinstance(error, _NEVER_SENT)
            raise Unreachable(
                f"no answer of {self.url}: {told}", was_sent=not never_sent
            ) from error
        if response.is_success:
            return response
        raise problem_of(response)

    def _build(self, request: Request) -> httpx.Request:
        query = request.query or {}
        headers = {**self._headers, **(request.headers or {})}
        content: bytes | AsyncIterable[bytes] | None = request.lines
        if content is not None:
            headers["content-type"] = "application/x-ndjson"
        elif request.body is not None:
            headers["content-type"] = "application/json"
            content = json.dumps(request.body, ensure_ascii=False, allow_nan=False).encode()
        return self._http.build_request(
            request.method,
            self.url + request.path,
            params={name: str(value) for name, value in query.items() if value is not None},
            content=content,
            headers=headers,
            timeout=None,  # the deadline is one for all of it
        )


def segment(text: str) -> str:
    """One part of a path. Raises ValueError for an empty one, which would name another path."""
    if not text:
        raise ValueError("an id is never empty")
    if not text.strip("."):
        return text.replace(".", "%2E")  # `..` would be taken for a step up
    return quote(text, safe="@:")


def given(**fields: object) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def problem_of(response: httpx.Response) -> MomentsError:
    """The error that an answer is, whoever made it: the service, or a proxy in front."""
    status = response.status_code
    if status < 400:
        return _no_answer_of_ours(response)
    retry_after_s = read_retry_after(response.headers.get("retry-after"), datetime.now(UTC))
    class_ = Unavailable if status in _LATER else problem_class(status)
    try:
        value: Any = response.json()
    except ValueError:
        value = None
    document = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    return class_(
        type=str(document.get("type", "about:blank")),
        title=str(document.get("title", response.reason_phrase)),
        status=status,
        detail=str(document.get("detail", "")),
        errors=_field_errors(document.get("errors")),
        retry_after_s=retry_after_s,
        instance=document.get("instance"),
        members={name: one for name, one in document.items() if name not in _MEMBERS},
    )


def _field_errors(value: Any) -> list[FieldError]:
    rows = cast("list[Any]", value) if isinstance(value, list) else []
    named = [cast("dict[str, Any]", row) for row in rows if isinstance(row, dict)]
    return [FieldError(str(row.get("field")), str(row.get("message"))) for row in named]


def _no_answer_of_ours(response: httpx.Response) -> UnexpectedAnswer:
    kind = response.headers.get("content-type", "nothing")
    return UnexpectedAnswer(
        f"{response.request.url} answered {response.status_code} with {kind}: is this a service "
        "of moments?"
    )


def read_retry_after(text: str | None, now: datetime) -> float | None:
    """Seconds, from a header with seconds or a date (RFC 9110, 10.2.3); None for anything else."""
    if text is None:
        return None
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())
