"""Before there is a socket: where it is, and why a gateway did not open it."""

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from websockets.http11 import Response

from moments_client.transport import read_retry_after

PATH = "/v1/socket"


def socket_url(text: str) -> str:
    """The URL of a gateway's sockets, from one that may lack the path. Raises ValueError."""
    parts = urlsplit(text)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError(f"{text!r} is no URL such as ws://127.0.0.1:8001")
    path = parts.path if parts.path.strip("/") else PATH
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def detail_of(response: Response) -> str:
    """What a problem says, else the words of the status."""
    try:
        problem: Any = json.loads(response.body or b"")
        return str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return response.reason_phrase


def retry_after_of(response: Response) -> float:
    """Seconds to wait at least."""
    found = response.headers.get("Retry-After")
    return read_retry_after(found, datetime.now(UTC)) or 0.0
