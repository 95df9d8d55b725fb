"""What a client asks for when it opens a socket, read from the query of its request."""

from dataclasses import dataclass
from urllib.parse import parse_qsl

from app.domain.socket import OFFSET_DIGITS_MAX, PARAMETERS
from app.errors import Rejected


@dataclass(frozen=True, slots=True)
class Opening:
    """`after` None: from the acknowledged cursor. `epoch` None: the client did not say."""

    token: str | None
    after: int | None
    epoch: str | None
    explicit: bool


def parse_opening(query: str) -> Opening:
    """Raises `Rejected`, whose message says what is wrong."""
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, strict_parsing=bool(query), errors="strict"
        )
    except ValueError:
        raise Rejected("the query cannot be read") from None
    fields = dict(pairs)
    unknown = sorted(fields.keys() - PARAMETERS)
    if unknown:
        raise Rejected(f"unknown parameter {unknown[0]!a}")
    if len(fields) < len(pairs):
        raise Rejected("a parameter is given twice")
    return Opening(
        token=fields.get("token"),
        after=_offset(fields.get("after")),
        epoch=fields.get("epoch"),
        explicit=_is_explicit(fields.get("ack", "auto")),
    )


def _offset(text: str | None) -> int | None:
    if text is None:
        return None
    if text.isascii() and text.isdecimal() and len(text) <= OFFSET_DIGITS_MAX:
        return int(text)
    raise Rejected("`after` is an offset: a whole number from 0 on")


def _is_explicit(word: str) -> bool:
    if word not in ("auto", "explicit"):
        raise Rejected("`ack` is auto or explicit")
    return word == "explicit"
