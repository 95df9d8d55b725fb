"""Why a gateway did not open a socket, read from its answer over HTTP."""

import json
from datetime import UTC, datetime
from typing import Any

from websockets.http11 import Response

from moments_client.transport import read_retry_after


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
