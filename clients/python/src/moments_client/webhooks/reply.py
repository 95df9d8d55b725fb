"""How a receiver answers, in terms of no framework."""

import json
from dataclasses import dataclass

from moments_client.errors import InvalidWebhook
from moments_client.webhooks.receiver import Challenge

BODY_BYTES_MAX = 1024 * 1024  # the service sends a quarter of that, unless it is set up otherwise
JSON, TEXT = "application/json", "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, body and type of an answer."""

    status: int
    body: bytes = b""
    media_type: str = TEXT


DONE = Reply(204)


def too_large(bytes_max: int) -> Reply:
    """What is longer than any webhook is not read to its end, whoever sends it."""
    return Reply(413, f"a webhook has at most {bytes_max} bytes\n".encode())


def echo(challenge: Challenge) -> Reply:
    """Yes, this receiver wants what is sent to it."""
    return Reply(200, json.dumps(challenge.echo).encode(), JSON)


def refusal(error: InvalidWebhook) -> Reply:
    """Why it is not taken: the sender keeps the text in its log of attempts."""
    return Reply(error.status, f"{error}\n".encode())
