"""Answers over HTTP to whoever does not get a socket."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from websockets.datastructures import Headers
from websockets.http11 import Response

from app.wire import encode_json

PLAIN: Final = "text/plain; charset=utf-8"
PROBLEM: Final = "application/problem+json"

# The last word of a problem's type, and its title.
_KINDS: Final = {
    400: ("bad-request", "The request cannot be taken"),
    401: ("unauthenticated", "A valid token is needed"),
    403: ("forbidden", "This is not for everybody"),
    404: ("not-found", "There is no such thing"),
    405: ("method-not-allowed", "This method does not exist here"),
    426: ("upgrade-required", "This is a websocket"),
    431: ("head-too-large", "The head of the request is too large"),
    500: ("internal", "Something went wrong on our side"),
    503: ("unavailable", "The service cannot do that now"),
    505: ("http-version", "This version of HTTP is not spoken here"),
}


def answer(
    status: int, body: bytes, media_type: str = PLAIN, headers: Mapping[str, str] | None = None
) -> Response:
    """The connection ends with it: whoever asks for health or metrics does so rarely."""
    fields = {
        "Connection": "close",
        "Content-Type": media_type,
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        **(headers or {}),
    }
    return Response(status, HTTPStatus(status).phrase, Headers(fields), body)


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """RFC 9457."""
    word, title = _KINDS[status]
    type_ = f"urn:moments:problem:{word}"
    body = {"type": type_, "title": title, "status": status, "detail": detail}
    return answer(status, encode_json(body), PROBLEM, headers)
