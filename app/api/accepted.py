"""What is told of a post that was accepted, edited or deleted: a wide line, and perhaps a span."""

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from app.api.answers import Answer
from app.api.call import Ask
from app.domain.post import Audience, Post
from app.domain.traceparent import trace_id_of

if TYPE_CHECKING:
    from app.tracing import Span

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_EVERYBODY = "all"

A = TypeVar("A", bound=Ask[Any, Any])


class Change:
    """One call that changes a post. `traceparent` goes with what it stores; None untraced."""

    __slots__ = ("_began", "_headers", "_span")

    def __init__(self, headers: Mapping[bytes, bytes], span: "Span | None") -> None:
        self._began = perf_counter()
        self._headers = headers
        self._span = span

    @property
    def traceparent(self) -> bytes | None:
        return None if self._span is None else self._span.traceparent

    def tell(self, event: str, post: Post, **more: object) -> None:
        """The line: what was accepted, from whom, how much, how long it took."""
        fields: dict[str, object] = {
            "post": post.id,
            "version": post.version,
            "author": post.author,
            "type": post.type,
            "bytes": len(post.data),
            **more,
            "duration_ms": round((perf_counter() - self._began) * 1000, 2),
        }
        request = self._headers.get(b"x-request-id")
        if request is not None and _REQUEST_ID.fullmatch(request):
            fields["request_id"] = request.decode("ascii")
        if self._span is not None:
            fields["trace"] = trace_id_of(self._span.traceparent)
            self._span.add({"moments.post": post.id, "moments.version": post.version})
        log.info(event, extra=fields)


def audience_kind(audience: Audience) -> str:
    """How the audience was cut, and by how many: `all`, `only 3`, `except 3`."""
    if audience.only is not None:
        return f"only {len(audience.only)}"
    return f"except {len(audience.excepted)}" if audience.excepted else _EVERYBODY


def changes(
    method: str, path: str
) -> Callable[[Callable[[A, Change], Awaitable[Answer]]], Callable[[A], Awaitable[Answer]]]:
    """Gives a handler its `Change`, with a span from here on that continues the caller's trace."""

    def make(handler: Callable[[A, Change], Awaitable[Answer]]) -> Callable[[A], Awaitable[Answer]]:
        attributes = {"http.request.method": method, "http.route": path}

        @wraps(handler)
        async def handle(ask: A) -> Answer:
            tracer, headers = ask.services.tracer, ask.headers
            if tracer is None:
                return await handler(ask, Change(headers, None))
            traceparent = headers.get(b"traceparent")
            span = tracer.begin(f"{method} {path}", "server", traceparent, attributes)
            if span is None:
                return await handler(ask, Change(headers, None))
            try:
                answer = await handler(ask, Change(headers, span))
                span.add({"http.response.status_code": answer.status})
                return answer
            except Exception as error:
                span.fail(type(error).__name__)
                raise
            finally:
                span.end()

        return handle

    return make
