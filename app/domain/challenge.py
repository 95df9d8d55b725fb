"""Challenges: how a receiver shows that it wants what is sent to its address.

It is sent a random text and echoes it in a field of its own:

    {"type":"endpoint.verify","timestamp":"…","data":{"challenge":"9fQ…","endpoint":"ky77tv2v00"}}
    200 {"challenge":"9fQ…"}

To send back what came is not enough: the field stands in another place there.
"""

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any, cast

TYPE = "endpoint.verify"
ANSWER_BYTES_MAX = 1_024  # what is read of the body of an answer
_RANDOM_BYTES = 32


def new_challenge(random: Callable[[int], bytes]) -> str:
    """Good for one request. `random` is `os.urandom`, or takes its place."""
    return urlsafe_b64encode(random(_RANDOM_BYTES)).rstrip(b"=").decode()


def challenge_in(event: Mapping[str, object]) -> str | None:
    """The text to echo, if an event is a challenge. A query has its data as JSON text."""
    if event.get("type") != TYPE:
        return None
    data = event.get("data")
    if isinstance(data, str):
        try:
            data = json.loads(data)
        except (ValueError, RecursionError):
            return None
    if not isinstance(data, dict):
        return None
    challenge = cast(Mapping[str, object], data).get("challenge")
    return challenge if isinstance(challenge, str) else None


def echo_of(challenge: str) -> bytes:
    """The body of an answer that echoes it."""
    return json.dumps({"challenge": challenge}).encode()


def is_echo(body: bytes, challenge: str) -> bool:
    """Whether the body of an answer is a JSON object whose `challenge` is this one."""
    try:
        answer: Any = json.loads(body)
    except (ValueError, RecursionError):
        return False
    if not isinstance(answer, dict):
        return False
    echoed = cast(dict[str, Any], answer).get("challenge")
    if not isinstance(echoed, str):
        return False
    return hmac.compare_digest(echoed.encode("utf-8", "replace"), challenge.encode())
