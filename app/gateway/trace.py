"""What a trace shows of a push to sockets: one span for all recipients of a slice that are here."""

from typing import TYPE_CHECKING

from app.store.nodes import Push

if TYPE_CHECKING:
    from app.tracing import Tracer


def tell_push(tracer: "Tracer", push: Push, taken: int) -> None:
    """From when the push was read until now, when so many sockets have it.

    Whoever is behind, or was away, has it later: from their inbox, which is no part of this.
    """
    assert push.event is not None
    span = tracer.begin(
        "push to sockets",
        "producer",
        push.traceparent,
        {
            "moments.post": push.event.post,
            "moments.version": push.event.version,
            "moments.shard": push.shard,
            "moments.recipients": len(push.recipients),
            "moments.sockets": taken,
        },
        began_ns=push.read_ns,
    )
    if span is not None:
        span.end()
