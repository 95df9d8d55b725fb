"""What the attempt log may keep of an answer: the receiver's words, without secrets of ours.

A receiver that fails may send back what it was sent (debug pages do). Headers of an endpoint are
sealed in the store and shown to nobody; out of an excerpt they would be in the open.
"""

import base64
import json
from collections.abc import Iterable, Sequence
from urllib.parse import quote

MASK = b"***"
SHORTEST = 6  # bytes of a value that is looked for; shorter ones stand in ordinary words
_TAIL = 4  # bytes of a value, cut off by the end of the excerpt, that tell it


def secret_forms(values: Iterable[str]) -> tuple[bytes, ...]:
    """What to look for: values of headers as sent, without their scheme, in JSON and in base64."""
    forms: set[bytes] = set()
    for value in values:
        for part in {value, value.partition(" ")[2]}:
            raw = part.encode("latin-1", "replace")
            forms |= {raw, json.dumps(part)[1:-1].encode(), quote(part, safe="").encode()}
            forms.add(base64.b64encode(raw).rstrip(b"="))
    return tuple(sorted((form for form in forms if len(form) >= SHORTEST), key=len, reverse=True))


def without_secrets(excerpt: bytes, secrets: Sequence[bytes]) -> bytes:
    """The excerpt with each of these replaced by `***`, and the beginning of one at its end."""
    for secret in secrets:
        excerpt = excerpt.replace(secret, MASK)
    for secret in secrets:
        excerpt = _without_tail(excerpt, secret)
    return excerpt


def _without_tail(excerpt: bytes, secret: bytes) -> bytes:
    for length in range(min(len(secret) - 1, len(excerpt)), _TAIL - 1, -1):
        if excerpt.endswith(secret[:length]):
            return excerpt[:-length] + MASK
    return excerpt
