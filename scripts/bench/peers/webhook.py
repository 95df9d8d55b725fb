"""The webhook that every peer sends: the fields, length and signature of the service's own."""

import base64
import hashlib
import hmac
import time
from datetime import UTC, datetime
from typing import Any

TEXT = "x" * 400


def payload(post: str, author: int, recipient: int, due_us: int) -> dict[str, Any]:
    """`due_us`: when the post was to be made, which the receivers look for."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {
        "type": "post.created",
        "timestamp": now,
        "recipient": f"person-{recipient}",
        "offset": 1,
        "data": {
            "post": {
                "id": post,
                "author": f"author-{author}",
                "type": "post",
                "version": 1,
                "created_at": now,
                "data": {"mark": f"{due_us}.0.p", "text": TEXT},
            }
        },
    }


def signed_headers(secret: str, delivery: str, body: bytes) -> dict[str, str]:
    """As Standard Webhooks has it; `secret` begins with whsec_."""
    now = str(int(time.time()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    text = b".".join((delivery.encode(), now.encode(), body))
    signature = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
    return {
        "content-type": "application/json",
        "webhook-id": delivery,
        "webhook-timestamp": now,
        "webhook-signature": f"v1,{signature}",
        "moments-attempt": "1",
    }
