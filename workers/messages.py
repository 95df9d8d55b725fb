"""What the service itself says to an endpoint, beside events: pings and challenges."""

from urllib.parse import urlencode

from app.domain.address import Url
from app.domain.post import EventKind
from app.wire import encode_json, rfc3339
from workers.target import Target


def message_to(
    target: Target, id_: str, type_: str, data: dict[str, object], at_ms: int
) -> tuple[Url, bytes, bytes]:
    """Where to send it, head and body; signed like any other."""
    fields = {"type": type_, "timestamp": rfc3339(at_ms)}
    if target.takes_query:
        message = urlencode({**fields, "data": encode_json(data)}).encode()
    else:
        message = encode_json({**fields, "data": data})
    return target.request(EventKind.CREATED, id_.encode(), 1, message, at_ms)
