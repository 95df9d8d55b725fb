"""What is told of attempts: one wide line for each, and a span for each of a traced post."""

import logging
from typing import TYPE_CHECKING

from app.clock import now_ms
from app.domain.attempt import Outcome
from app.domain.traceparent import trace_id_of
from app.wire import rfc3339
from workers.delivery import Item
from workers.target import Target

if TYPE_CHECKING:
    from app.tracing import Span, Tracer

log = logging.getLogger(__name__)


def tell_success(item: Item, outcome: Outcome) -> None:
    """At debug: there are thousands of them in a second, and the ledger has every one."""
    if log.isEnabledFor(logging.DEBUG):
        log.debug("attempt", extra=_fields(item, outcome))


def tell_failure(item: Item, outcome: Outcome, wait_ms: int | None) -> None:
    """`wait_ms` is the time until the next attempt, None when there will be none."""
    fields = _fields(item, outcome)
    if wait_ms is not None:
        fields["next_attempt_at"] = rfc3339(now_ms() + wait_ms)
    log.info("attempt failed", extra=fields)


def _fields(item: Item, outcome: Outcome) -> dict[str, object]:
    fields: dict[str, object] = {
        "delivery": item.id,
        "attempt": item.attempts + 1,
        "endpoint": item.endpoint,
        "status": outcome.status,
        "error_class": outcome.error,
        "duration_ms": round(outcome.duration_ms, 1),
        "reused": outcome.reused,
    }
    if item.entry.traceparent is not None:
        fields["trace"] = trace_id_of(item.entry.traceparent)
    return fields


class AttemptTraces:
    """The spans of attempts under way. One there is for each request that the client has."""

    def __init__(self, tracer: "Tracer") -> None:
        self._tracer = tracer
        self._open: dict[Item, Span] = {}

    def begin(self, item: Item, target: Target, head: bytes) -> bytes:
        """The head of its request, with the `traceparent` by which the receiver goes on."""
        span = self._tracer.begin(
            "attempt",
            "client",
            item.entry.traceparent,
            {
                "moments.delivery": item.id,
                "moments.endpoint": item.endpoint,
                "moments.attempt": item.attempts + 1,
                "server.address": target.host,
            },
        )
        if span is None:
            return head
        self._open[item] = span
        return b"%btraceparent: %b\r\n\r\n" % (head[:-2], span.traceparent)

    def end(self, item: Item, outcome: Outcome) -> None:
        span = self._open.pop(item, None)
        if span is None:
            return
        span.add({"moments.connection_reused": outcome.reused})
        if outcome.status:
            span.add({"http.response.status_code": outcome.status})
        if outcome.error is not None:
            span.add({"error.type": outcome.error})
            span.fail(outcome.error)
        span.end()
