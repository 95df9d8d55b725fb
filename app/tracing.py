"""Spans of this process, and how they get to a collector: OpenTelemetry, by OTLP over HTTP.

Imported only when tracing is on. Whoever has something to tell holds a `Tracer | None`, and looks
at nothing else where it is None. Between processes goes a `traceparent`, and only that of a trace
which is recorded: where there is none, there is no span.

Spans wait for the collector in bounded memory and leave by a thread of the SDK. A collector that
does not take them costs spans, which are counted, and nothing else.
"""

import asyncio
import contextlib
import logging
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import (
    Span as AnySpan,
)

from app import __version__
from app.domain.traceparent import Traceparent, parse_traceparent

log = logging.getLogger(__name__)

_KINDS = {kind.name.lower(): kind for kind in SpanKind}

BATCH_MAX = 512  # spans in one request to the collector
CLOSE_S = 3.0  # how long the end of a process waits for the collector

Kind = Literal["server", "client", "producer", "consumer", "internal"]
Value = str | int | float | bool
Attributes = Mapping[str, Value]


@dataclass(slots=True)
class SpanStats:
    """Spans that ended here: `waiting` is those that no result is known of yet."""

    ended: int = 0
    exported: int = 0
    failed: int = 0  # the collector did not take them
    dropped: int = 0  # too many waited

    def results(self) -> dict[str, int]:
        return {"exported": self.exported, "failed": self.failed, "dropped": self.dropped}

    @property
    def waiting(self) -> int:
        return self.ended - self.exported - self.failed - self.dropped


class Span:
    """Something that is going on and is recorded. `traceparent` is what continues it elsewhere."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: AnySpan) -> None:
        context = span.get_span_context()
        self._span = span
        self.traceparent = Traceparent(context.trace_id, context.span_id, sampled=True).encode()

    def add(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def fail(self, reason: str) -> None:
        """It did not do what it was for."""
        self._span.set_status(Status(StatusCode.ERROR, reason))

    def end(self) -> None:
        self._span.end()


class Tracer:
    """Begins spans. There is one in a process, made by `make_tracer`."""

    def __init__(self, provider: TracerProvider, stats: SpanStats) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("moments", __version__)
        self.stats = stats

    def begin(
        self,
        name: str,
        kind: Kind,
        traceparent: bytes | None,
        attributes: Attributes,
        *,
        began_ns: int | None = None,
    ) -> Span | None:
        """A span that goes on from `traceparent`, else begins a trace; None when it is not one of
        the sample. What has begun is recorded if it was there; `began_ns` is in Unix time."""
        span = self._tracer.start_span(
            name,
            context=_context_of(traceparent),
            kind=_KINDS[kind],
            attributes=attributes,
            start_time=began_ns,
        )
        return Span(span) if span.is_recording() else None

    def flush(self, within_s: float) -> bool:
        """Sends what waits now; blocks. False when that did not end in time."""
        return self._provider.force_flush(round(within_s * 1000))

    async def close(self, within_s: float = CLOSE_S) -> None:
        """Sends what waits, if the collector takes it in time."""
        loop, closed = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # nobody waits any more: the loop is closed
                loop.call_soon_threadsafe(closed.set)

        # No thread of the loop's, whose end would wait for it.
        threading.Thread(target=shut_down, name="traces-end", daemon=True).start()
        try:
            async with asyncio.timeout(within_s):
                await closed.wait()
        except TimeoutError:
            log.warning("spans were left unsent", extra={"spans": self.stats.waiting})


def make_tracer(role: str, *, ratio: float, spans_max: int) -> Tracer:
    """A tracer whose spans go where the standard variables OTEL_EXPORTER_OTLP_… say.

    A trace that begins here is recorded with the probability `ratio`; one that comes from somebody
    else is if they record it. At most `spans_max` spans wait for the collector.
    """
    # What it has to say of each failure is said once, by `_Counted`.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    stats = SpanStats()
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(ratio)),
        resource=Resource.create(_names(role)),
        shutdown_on_exit=False,
    )
    batches = BatchSpanProcessor(
        _Counted(OTLPSpanExporter(), stats),
        max_queue_size=spans_max,
        max_export_batch_size=min(spans_max, BATCH_MAX),
    )
    provider.add_span_processor(_Bounded(batches, stats, spans_max))
    return Tracer(provider, stats)


def _context_of(traceparent: bytes | None) -> Context:
    """Always one of its own: nothing goes by what the SDK takes for current."""
    parsed = None if traceparent is None else parse_traceparent(traceparent)
    if parsed is None:
        return Context()
    flags = TraceFlags(TraceFlags.SAMPLED if parsed.sampled else TraceFlags.DEFAULT)
    place = SpanContext(parsed.trace_id, parsed.span_id, is_remote=True, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(place), Context())


def _names(role: str) -> dict[str, Value]:
    """Who tells of the spans; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before it."""
    own = {
        "service.version": __version__,
        "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
    }
    given = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if not os.environ.get("OTEL_SERVICE_NAME") and "service.name=" not in given:
        own["service.name"] = f"moments-{role}"
    return {name: value for name, value in own.items() if f"{name}=" not in given}


class _Bounded(SpanProcessor):
    """Lets spans through to the next one while not too many wait. Called where a span ends."""

    def __init__(self, next_: SpanProcessor, stats: SpanStats, spans_max: int) -> None:
        self._next = next_
        self._stats = stats
        self._spans_max = spans_max

    def on_start(self, span: SdkSpan, parent_context: Context | None = None) -> None:
        self._next.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        stats = self._stats
        is_full = stats.waiting >= self._spans_max
        stats.ended += 1
        if is_full:
            stats.dropped += 1
        else:
            self._next.on_end(span)

    def shutdown(self) -> None:
        self._next.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._next.force_flush(timeout_millis)


class _Counted(SpanExporter):
    """Counts what the collector takes and what it does not; tells when that changes."""

    def __init__(self, exporter: SpanExporter, stats: SpanStats) -> None:
        self._exporter = exporter
        self._stats = stats
        self._is_failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # whatever it is: spans are lost, and the process is not
            self._note(len(spans), type(error).__name__)
            return SpanExportResult.FAILURE
        self._note(len(spans), None if result is SpanExportResult.SUCCESS else "not taken")
        return result

    def _note(self, count: int, failure: str | None) -> None:
        if failure is None:
            self._stats.exported += count
            if self._is_failing:
                log.info("the collector takes spans again")
        else:
            self._stats.failed += count
            if not self._is_failing:
                log.warning(
                    "the collector does not take spans", extra={"spans": count, "reason": failure}
                )
        self._is_failing = failure is not None

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)
