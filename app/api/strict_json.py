"""JSON as clients send it, read strictly: what two parsers could read differently is refused."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any, cast

from app.api.problems import MALFORMED, Problem, invalid

DEPTH_MAX = 64  # of objects and lists in each other
# What msgpack frames, and most languages, can hold.
INT_MIN, INT_MAX = -(2**63), 2**64 - 1
_INT_DIGITS_MAX = 20
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")

_dump = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False).encode


def parse(raw: bytes) -> Any:
    """The value of a JSON text. Raises a 400 `Problem` that says what is wrong with it, and where.

    Refused beyond the grammar: other encodings than UTF-8, names twice in one object (RFC 8259,
    4), NaN and Infinity, numbers beyond 64 bits, nesting deeper than 64; and with a 422 that names
    the field, half of a surrogate pair, which is no character (RFC 8259, 8.2).
    """
    try:
        value = _decode(raw.decode())
    except UnicodeDecodeError as error:
        raise _malformed(f"This is not UTF-8 at byte {error.start + 1}.") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise _malformed(f"This is not JSON: {error.msg} at {place}.") from None
    except RecursionError:
        raise _too_deep() from None
    # The number of brackets is quickly counted and nearly always settles the question.
    if raw.count(b"{") + raw.count(b"[") > DEPTH_MAX and _is_too_deep(value):
        raise _too_deep()
    if _SURROGATE.search(raw):
        for place in _lone_surrogates(value, ""):
            raise invalid(place, "holds half of a surrogate pair, which is no character")
    return value


def compact(value: Any) -> bytes:
    """What `parse` gave as JSON text without blanks, in UTF-8."""
    return _dump(value).encode()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise _malformed(f"The name {_quoted(twice)} stands twice in one object.")
    return value


def _int(text: str) -> int:
    if len(text) <= _INT_DIGITS_MAX and INT_MIN <= (value := int(text)) <= INT_MAX:
        return value
    raise _malformed(f"The number {text[:24]} does not fit into 64 bits.")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _malformed(f"The number {text[:24]} does not fit into 64 bits.")
    return value


def _no_number(text: str) -> float:
    raise _malformed(f"{text} is not JSON.")


_decode = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_int, parse_float=_float, parse_constant=_no_number
).decode


def _is_too_deep(value: Any) -> bool:
    level: list[Any] = [value] if isinstance(value, dict | list) else []
    for _ in range(DEPTH_MAX):
        # One comprehension a level: tens of thousands of empty lists must not hold up the loop.
        level = [
            inner
            for outer in level
            for inner in (outer.values() if outer.__class__ is dict else outer)
            if inner.__class__ is dict or inner.__class__ is list
        ]
        if not level:
            return False
    return True


def _lone_surrogates(value: Any, place: str) -> Iterator[str]:
    """Where strings stand that cannot be encoded. The value is at most 64 deep."""
    if isinstance(value, str):
        if not _is_encodable(value):
            yield place
    elif isinstance(value, dict):
        for name, child in cast(dict[str, Any], value).items():
            within = f"{place}.{_shown(name)}" if place else _shown(name)
            if not _is_encodable(name):
                yield within
            yield from _lone_surrogates(child, within)
    elif isinstance(value, list):
        for index, child in enumerate(cast(list[Any], value)):
            yield from _lone_surrogates(child, f"{place}[{index}]")


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()[:64]


def _quoted(text: str) -> str:
    return json.dumps(text[:64])


def _malformed(detail: str) -> Problem:
    return Problem(MALFORMED, detail)


def _too_deep() -> Problem:
    return _malformed(f"Objects and lists are nested more than {DEPTH_MAX} deep.")
