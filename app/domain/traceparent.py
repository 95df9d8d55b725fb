"""The `traceparent` of W3C Trace Context: which trace something belongs to, and what began it.

It is what goes from process to process, as an entry's field and as a header: 55 characters, of
version 00 (https://www.w3.org/TR/trace-context/#traceparent-header).
"""

import re
from dataclasses import dataclass

_FORM = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 0x01


@dataclass(frozen=True, slots=True)
class Traceparent:
    """A place in a trace. Neither id is 0. `sampled`: whoever was there before records it."""

    trace_id: int
    span_id: int
    sampled: bool

    def encode(self) -> bytes:
        return b"00-%032x-%016x-%02x" % (self.trace_id, self.span_id, self.sampled)


def parse_traceparent(raw: bytes) -> Traceparent | None:
    """What a header or field says; None for what is none, which is then as if it were not there."""
    match = _FORM.fullmatch(raw)
    if match is None:
        return None
    version, trace, span, flags, more = match.groups()
    # A later version may go on behind what this one has; ff is none.
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    trace_id, span_id = int(trace, 16), int(span, 16)
    if not trace_id or not span_id:
        return None
    return Traceparent(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


def trace_id_of(traceparent: bytes) -> str:
    """The trace's id as logs show it, from a traceparent that is well-formed."""
    return traceparent[3:35].decode()
