"""The kinds of fields that requests and answers are made of."""

import re
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated, Any, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from app.api.problems import ERRORS_MAX, INVALID, FieldError, Problem
from app.domain.ids import ENDPOINT_ID, POST_ID, USER_ID

LIMIT_DEFAULT, LIMIT_MAX = 50, 200
OFFSET_MAX = 2**53 - 1  # what every JSON reader keeps exactly
_FIELD_SHOWN_MAX = 128

_TIME = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.IGNORECASE | re.ASCII
)
_WHOLE = re.compile(r"0|[1-9][0-9]{0,15}")
_DECIMAL = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_DECIMAL_SIZE_MAX = 32


class Body(BaseModel):
    """A JSON body: no field beyond those named, and no type taken for another."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _leave_out_surplus(cls, value: Any) -> Any:
        """Of ten thousand unknown fields a few are enough to refuse them all."""
        if not isinstance(value, dict):
            return value
        fields = cast(dict[str, Any], value)
        if len(fields) <= len(cls.model_fields) + ERRORS_MAX:
            return fields
        named = (info.alias or name for name, info in cls.model_fields.items())
        known = {name: fields[name] for name in named if name in fields}
        return known | dict(islice(fields.items(), len(cls.model_fields) + ERRORS_MAX))


class Query(BaseModel):
    """Query parameters: each at most once, none beyond those named."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Out(BaseModel):
    """An answer. Made by us, so nothing about it is checked again."""

    model_config = ConfigDict(frozen=True, json_schema_mode_override="serialization")


class Nothing(Query):
    """No parameters, or no body."""


def _is_none(value: Any) -> bool:
    return value is None


def left_out() -> Any:
    """A field of an answer that is absent when there is nothing to say."""
    return Field(default=None, exclude_if=_is_none, json_schema_extra=_never_null)


def _never_null(schema: dict[str, Any]) -> None:
    del schema["default"]
    schema.update(*[choice for choice in schema.pop("anyOf") if choice != {"type": "null"}])


def shaped(pattern: re.Pattern[str]) -> Any:
    """Tells in the description how a text looks whose reader says better what is wrong with it."""
    return Field(json_schema_extra={"pattern": f"^(?:{pattern.pattern})$"})


def _whole(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise ValueError("must be a whole number in decimal digits")
    return int(text)


def _decimal(text: str) -> float:
    """A number as JSON has it: whoever makes a query of one does not write it anew."""
    if len(text) > _DECIMAL_SIZE_MAX or not _DECIMAL.fullmatch(text):
        raise ValueError("must be a number in decimal digits")
    return float(text)


def _integral(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) <= OFFSET_MAX:
        return int(value)
    return value


def parse_time(value: Any) -> int:
    """Milliseconds since 1970 of an RFC 3339 time. Raises ValueError."""
    if isinstance(value, str) and _TIME.fullmatch(value):
        try:
            at = datetime.fromisoformat(value.upper())
            return (at.astimezone(UTC) - _EPOCH) // _MS
        except (ValueError, OverflowError):
            pass
    raise ValueError("must be an RFC 3339 time, e.g. 2026-01-31T12:00:00Z")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


UserId = Annotated[str, StringConstraints(pattern=f"^{USER_ID.pattern}$")]
TypeWord = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
PostId = Annotated[str, StringConstraints(pattern=f"^{POST_ID.pattern}$")]
EndpointId = Annotated[str, StringConstraints(pattern=f"^{ENDPOINT_ID.pattern}$")]
# A time in a request, as milliseconds.
Time = Annotated[
    int, BeforeValidator(parse_time), WithJsonSchema({"type": "string", "format": "date-time"})
]
# A time in an answer, as text.
TimeText = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
# A whole number in a body, which JSON does not tell from one with a zero behind the point: 3600.0.
INTEGRAL = BeforeValidator(_integral)
Offset = Annotated[int, Field(ge=0, le=OFFSET_MAX), INTEGRAL]

# Numbers in a query. (Limits stand before the reading of the text, so that they are described.)
DIGITS = BeforeValidator(_whole)
DECIMALS = BeforeValidator(_decimal)
Limit = Annotated[int, Field(ge=1, le=LIMIT_MAX, description="How many items at most."), DIGITS]
Position = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_.:@-]{1,128}$"),
    Field(description="The `next` of the page before."),
]


class UserPage(Query):
    """A page of users: `after` is the last one of the page before."""

    after: UserId | None = None
    limit: Limit = LIMIT_DEFAULT


class Page(Query):
    after: Position | None = None
    limit: Limit = LIMIT_DEFAULT


def problem_of_validation(error: ValidationError) -> Problem:
    """A 422 that names every field at fault, without repeating what was sent."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    fields = [FieldError(field_name(each["loc"]), _message(each["msg"])) for each in found]
    first = f"{fields[0].field}: {fields[0].message}" if fields[0].field else fields[0].message
    more = f" (and {len(fields) - 1} more)" if len(fields) > 1 else ""
    return Problem(INVALID, f"{first}{more}", fields=fields)


def field_name(place: tuple[int | str, ...]) -> str:
    """`audience.only[3]` for ("audience", "only", 3)."""
    name = ""
    for part in place:
        if isinstance(part, int):
            name += f"[{part}]"
        else:
            shown = part or '""'
            name += f".{shown}" if name else shown
    return name.encode("utf-8", "backslashreplace").decode()[:_FIELD_SHOWN_MAX]


def _message(text: str) -> str:
    """Pydantic's words without its name for our own checks."""
    return text.removeprefix("Value error, ")
