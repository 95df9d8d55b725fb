"""Endpoints in requests and answers."""

from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from app.api.schemas.fields import Body, Out, Time, TimeText, UserId
from app.domain.headers import COUNT_MAX, check_headers
from app.errors import HeadersRejected

DEFAULT_TYPES = ["post.*"]
DAY_S = 86_400

MethodWord = Literal["POST", "GET", "rest"]
TypePattern = Annotated[
    str,
    StringConstraints(
        max_length=64,
        pattern=r"^(\*|[a-z][a-z0-9_]{0,31}\.(\*|[a-z][a-z0-9_]{0,31}))$",
    ),
]
TypePatterns = Annotated[list[TypePattern], Field(min_length=1, max_length=32)]
Rate = Annotated[float, Field(ge=0.01, le=10_000, allow_inf_nan=False)]
Delay = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Schedule = Annotated[list[Delay], Field(max_length=32)]
Description = Annotated[str, Field(max_length=256)]


def _checked(headers: dict[str, str]) -> dict[str, str]:
    try:
        return check_headers(headers)
    except HeadersRejected as error:
        raise ValueError(str(error)) from None


def _few(headers: Any) -> Any:
    """Counts them before each is looked at."""
    if not isinstance(headers, dict):
        return headers
    found = cast(dict[str, Any], headers)
    if len(found) > COUNT_MAX:
        raise ValueError(f"must be {COUNT_MAX} headers at most")
    return found


Headers = Annotated[
    dict[str, str], Field(max_length=COUNT_MAX), AfterValidator(_checked), BeforeValidator(_few)
]


class NewEndpoint(Body):
    user: UserId
    url: str
    types: TypePatterns = DEFAULT_TYPES
    method: MethodWord = "POST"
    headers: Headers = Field(default_factory=dict)
    rate_per_s: Rate | None = None
    retry_schedule_s: Schedule | None = None
    description: Description | None = None
    secret: str | None = None


class EndpointChange(Body):
    """Only the fields given are changed; null brings an option back to its default."""

    url: str = ""
    types: TypePatterns | None = None
    method: MethodWord | None = None
    headers: Headers | None = None
    rate_per_s: Rate | None = None
    retry_schedule_s: Schedule | None = None
    description: Description | None = None


class Endpoint(Out):
    """An endpoint. The values of its headers are shown to admin keys only."""

    id: str
    user: str
    url: str
    types: list[str]
    method: MethodWord
    headers: dict[str, str]
    rate_per_s: float | None
    retry_schedule_s: list[float] | None
    description: str | None
    state: Literal["active", "open", "disabled"]
    disabled_reason: str | None
    created_at: TimeText
    last_success_at: TimeText | None
    consecutive_failures: int
    first_failure_at: TimeText | None
    open_until: TimeText | None


class FullEndpoint(Endpoint):
    secret: str


class Endpoints(Out):
    items: list[Endpoint]
    next: str | None


class Rotation(Body):
    """For how long the secret before goes on signing beside the new one."""

    overlap_s: Annotated[int, Field(ge=0, le=30 * DAY_S)] = DAY_S


class Recovery(Body):
    """From when until when (now) everything undelivered is sent again."""

    since: Time
    until: Time | None = None
