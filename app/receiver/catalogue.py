"""The behaviours by the names that a command line knows, and what can be said about them.

    ok                     204
    status=CODE            any status
    retry-after=SECONDS    429 that says when to come again
    retry-date=SECONDS     503 that says so with a date

The others take nothing, and stand in `_FIXED`. `all` is every one of them, but for statuses: a 410
would disable the endpoint.
"""

from collections.abc import Callable

from app.errors import Rejected
from app.receiver.behaviour import (
    Behaviour,
    answer_and_close,
    chunked,
    redirect,
    retry_after_date,
    status,
    until_close,
)
from app.receiver.misbehaviour import (
    banner,
    big_body,
    chunked_garbage,
    close_after_request,
    close_idle,
    drip,
    endless_body,
    endless_head,
    gzip_bomb,
    hang,
    headers_then_stop,
    interim,
    long_body,
    refuse,
    reset_after_request,
    reset_after_response,
    reset_before_request,
    reset_in_body,
    short_body,
    silence,
    two_responses,
)

FORBIDDEN = "http://169.254.169.254/latest/meta-data/"  # where clouds keep their secrets
DRIP_S = 1.0
BIG_BODY_BYTES = 10 * 1024 * 1024
RETRY_AFTER_S = 1  # among `all`

_FIXED: dict[str, Behaviour] = {
    "drip": drip(gap_s=DRIP_S),
    "stop-after-head": headers_then_stop(),
    "hang": hang(),
    "silence": silence(),
    "big-body": big_body(BIG_BODY_BYTES),
    "endless-body": endless_body(),
    "endless-head": endless_head(),
    "gzip-bomb": gzip_bomb(),
    "short-body": short_body(),
    "long-body": long_body(),
    "chunked": chunked(b"o", b"k"),
    "chunked-garbage": chunked_garbage(),
    "until-close": until_close(body=b"ok"),
    "two-responses": two_responses(200, 500),
    "interim": interim(100, 102, 103),
    "banner": banner(b"220 mail.example ESMTP\r\n"),
    "close": answer_and_close(),
    "close-idle": close_idle(),
    "close-unanswered": close_after_request(),
    "reset-before-request": reset_before_request(),
    "reset-before-response": reset_after_request(),
    "reset-in-response": reset_in_body(),
    "reset-after-response": reset_after_response(),
    "refuse": refuse(),
    "redirect": redirect(FORBIDDEN),
}

_OK = status(204)
_WITH_NUMBER: dict[str, Callable[[int], Behaviour]] = {
    "status": status,
    "retry-after": lambda after_s: status(429, retry_after=str(after_s)),
    "retry-date": lambda after_s: retry_after_date(503, after_s),
}

NAMES = ("ok", *_FIXED)
ALL = (
    _OK,
    *_FIXED.values(),
    _WITH_NUMBER["retry-after"](RETRY_AFTER_S),
    _WITH_NUMBER["retry-date"](RETRY_AFTER_S),
)


def behaviours(words: str) -> tuple[Behaviour, ...]:
    """Those that a comma-separated list names. Raises Rejected for a name that is none."""
    chosen: list[Behaviour] = []
    for word in filter(None, (part.strip() for part in words.split(","))):
        chosen += ALL if word == "all" else (_behaviour(word),)
    if not chosen:
        raise Rejected("name at least one behaviour, or `all`")
    return tuple(chosen)


def _behaviour(word: str) -> Behaviour:
    name, equals, number = word.partition("=")
    make = _WITH_NUMBER.get(name)
    if make is not None and equals:
        return make(_number(word, number, 200 if name == "status" else 0))
    if not equals and name == "ok":
        return _OK
    if equals or name not in _FIXED:
        known = ", ".join((*NAMES, *(f"{name}=N" for name in _WITH_NUMBER), "all"))
        raise Rejected(f"there is no {word!r}; there are {known}")
    return _FIXED[name]


def _number(word: str, text: str, least: int) -> int:
    most = 599 if least else 86_400
    if not text.isdecimal() or not least <= int(text) <= most:
        raise Rejected(f"{word!r} needs a whole number from {least} to {most}")
    return int(text)
