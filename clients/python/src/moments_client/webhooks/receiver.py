"""What a webhook request says, once its signature has been checked. Knows no framework."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from urllib.parse import parse_qsl

from moments_client.answers import ExpiredPost, PushedPost
from moments_client.decoding import decode
from moments_client.errors import InvalidWebhook, UnexpectedAnswer
from moments_client.webhooks.signature import ID, check, matcher

_ATTEMPT = "moments-attempt"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEvent:
    """An event of a recipient. `id` is the same on every attempt: what has been dealt with under
    it is not to be done again. `attempt` is 1 for the first."""

    id: str
    attempt: int
    type: str
    timestamp: datetime
    recipient: str
    offset: int
    post: PushedPost | ExpiredPost


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """Somebody asked for a test of the endpoint."""

    id: str
    timestamp: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """The service asks whether this receiver wants what is sent to it; `echo` is to be answered."""

    id: str
    challenge: str
    endpoint: str

    @property
    def echo(self) -> dict[str, str]:
        """The body of an answer with status 200 that says yes."""
        return {"challenge": self.challenge}


Webhook = WebhookEvent | Ping | Challenge


@dataclass(frozen=True, slots=True)
class _Data:
    post: PushedPost | ExpiredPost


@dataclass(frozen=True, slots=True)
class _Body:
    type: str
    timestamp: datetime
    recipient: str
    offset: int
    data: _Data


@dataclass(frozen=True, slots=True)
class _PingBody:
    timestamp: datetime


@dataclass(frozen=True, slots=True)
class _Asked:
    challenge: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class _ChallengeBody:
    data: _Asked


class Receiver:
    """Checks requests with an endpoint's `secret` (`whsec_…`) or `public_key` (`whpk_…`).

    Several, while one takes another's place: whichever matches will do.
    """

    def __init__(self, *secrets: str) -> None:
        """Raises ValueError for what is no secret, ImportError that says what to install."""
        if not secrets:
            raise ValueError("give the endpoint's secret, whsec_… or whpk_…")
        self._matchers = [matcher(secret) for secret in secrets]

    def receive(
        self,
        body: bytes,
        headers: Mapping[str, str] | Sequence[tuple[str, str]],
        query: bytes | str = b"",
    ) -> Webhook:
        """What a request says.

        `body` is the raw body, as it came: what a framework has parsed and written anew does not
        have the same signature. `query` is the raw query string, for endpoints with the method
        `GET`. Raises `InvalidWebhook`, which has a status and a text to answer with.
        """
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        named = {name.lower(): value for name, value in pairs}
        raw_query = query.encode() if isinstance(query, str) else query
        check(self._matchers, named, body or raw_query)
        fields = _read(body, raw_query)
        try:
            return _webhook(named, fields)
        except UnexpectedAnswer as error:
            raise InvalidWebhook(
                f"signed, but not a webhook this version knows: {error}", 422
            ) from error


def _webhook(headers: Mapping[str, str], fields: dict[str, Any]) -> Webhook:
    id_ = headers[ID]
    match fields.get("type"):
        case "ping":
            return Ping(id=id_, timestamp=decode(_PingBody, fields).timestamp)
        case "endpoint.verify":
            asked = decode(_ChallengeBody, fields).data
            return Challenge(id=id_, challenge=asked.challenge, endpoint=asked.endpoint)
        case _:
            body = decode(_Body, fields)
    attempt = headers.get(_ATTEMPT, "")
    return WebhookEvent(
        id=id_,
        attempt=int(attempt) if attempt.isascii() and attempt.isdecimal() else 1,
        type=body.type,
        timestamp=body.timestamp,
        recipient=body.recipient,
        offset=body.offset,
        post=body.data.post,
    )


def _read(body: bytes, query: bytes) -> dict[str, Any]:
    """The JSON body; without one the query, of which the data and the offset are JSON too."""
    try:
        if body:
            value = json.loads(body)
        else:
            value = dict(parse_qsl(query.decode(), keep_blank_values=True))
            value |= {name: json.loads(value[name]) for name in ("data", "offset") if name in value}
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InvalidWebhook("signed, but its body is no JSON object", 422)
    return cast("dict[str, Any]", value)
