"""The behaviours by the names that a command line knows, and what can be said about them.

    status=CODE            any status
    retry-after=SECONDS    429 that says when to come again
    retry-date=SECONDS     503 that says so with a date

The others take no number, and stand in `_FIXED`. `all` is every one of them, but for statuses: a
410 would disable the endpoint.
"""

from collections.abc import Callable
from functools import cache

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

_FIXED: dict[str, Callable[[], Behaviour]] = {
    "ok": lambda: status(204),
    "drip": lambda: drip(gap_s=DRIP_S),
    "stop-after-head": headers_then_stop,
    "hang": hang,
    "silence": silence,
    "big-body": lambda: big_body(BIG_BODY_BYTES),
    "endless-body": endless_body,
    "endless-head": endless_head,
    "gzip-bomb": gzip_bomb,
    "short-body": short_body,
    "long-body": long_body,
    "chunked": lambda: chunked(b"o", b"k"),
    "chunked-garbage": chunked_garbage,
    "until-close": lambda: until_close(body=b"ok"),
    "two-responses": lambda: two_responses(200, 500),
    "interim": lambda: interim(100, 102, 103),
    "banner": lambda: banner(b"220 mail.example ESMTP\r\n"),
    "close": answer_and_close,
    "close-idle": close_idle,
    "close-unanswered": close_after_request,
    "reset-before-request": reset_before_request,
    "reset-before-response": reset_after_request,
    "reset-in-response": reset_in_body,
    "reset-after-response": reset_after_response,
    "refuse": refuse,
    "redirect": lambda: redirect(FORBIDDEN),
}

_WITH_NUMBER: dict[str, Callable[[int], Behaviour]] = {
    "status": status,
    "retry-after": lambda after_s: status(429, retry_after=str(after_s)),
    "retry-date": lambda after_s: retry_after_date(503, after_s),
}

NAMES = tuple(_FIXED)
ALL = (*NAMES, f"retry-after={RETRY_AFTER_S}", f"retry-date={RETRY_AFTER_S}")


def behaviours(words: str) -> tuple[Behaviour, ...]:
    """Those that a comma-separated list names. Raises Rejected for a name that is none."""
    chosen: list[Behaviour] = []
    for word in filter(None, (part.strip() for part in words.split(","))):
        chosen += map(_behaviour, ALL if word == "all" else (word,))
    if not chosen:
        raise Rejected("name at least one behaviour, or `all`")
    return tuple(chosen)


def _behaviour(word: str) -> Behaviour:
    name, equals, number = word.partition("=")
    if equals and name in _WITH_NUMBER:
        return _WITH_NUMBER[name](_number(word, number, 200 if name == "status" else 0))
    if equals or name not in _FIXED:
        known = ", ".join((*NAMES, *(f"{name}=N" for name in _WITH_NUMBER), "all"))
        raise Rejected(f"there is no {word!r}; there are {known}")
    return _fixed(name)


@cache
def _fixed(name: str) -> Behaviour:
    """Made when it is asked for: some take megabytes."""
    return _FIXED[name]()


def _number(word: str, text: str, least: int) -> int:
    most = 599 if least else 86_400
    if not text.isdecimal() or not least <= int(text) <= most:
        raise Rejected(f"{word!r} needs a whole number from {least} to {most}")
    return int(text)
