"""Endpoints in requests and answers."""

from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from app.api.schemas.examples import (
    ENDPOINT,
    POSTED_AT,
    PUBLIC_KEY,
    SECRET,
    VERIFICATION,
    example,
)
from app.api.schemas.fields import INTEGRAL, Body, Out, Time, TimeText, UserId, shaped
from app.domain.address import URL_SIZE_MAX
from app.domain.headers import COUNT_MAX, NAME, SIZE_MAX, VALUE, check_headers
from app.domain.signature import SECRET_TEXT, Signing
from app.errors import HeadersRejected

DEFAULT_TYPES = ["post.*"]
DAY_S = 86_400

StateWord = Annotated[
    Literal["active", "open", "disabled", "unverified"],
    Field(
        description="`open`: it fails, its deliveries wait, and it is tried once a minute. "
        "`disabled`: it answered 410, or failed for days. `unverified`: its receiver has not "
        "echoed a challenge yet; its deliveries wait. A challenge is a signed request with "
        '`{"type":"endpoint.verify","data":{"challenge":"…","endpoint":"…"}}`, and is echoed by '
        'a 2xx with `{"challenge":"…"}` in JSON.'
    ),
]
MethodWord = Literal["POST", "GET", "rest"]
SigningWord = Annotated[
    Signing,
    Field(
        description="`hmac`: `v1` signatures, with a shared secret. `ed25519`: `v1a` signatures, "
        "with a key that this service keeps; who has its `public_key` can check and not sign."
    ),
]
PublicKey = Annotated[
    str | None,
    Field(description="`whpk_` and 32 bytes in base64, of the newest key; null with `hmac`."),
]
TypePattern = Annotated[
    str,
    StringConstraints(
        max_length=64,
        pattern=r"^(\*|[a-z][a-z0-9_]{0,31}\.(\*|[a-z][a-z0-9_]{0,31}))$",
    ),
]
TypePatterns = Annotated[list[TypePattern], Field(min_length=1, max_length=32)]
Rate = Annotated[float, Field(ge=0.01, le=10_000, allow_inf_nan=False)]
Delay = Annotated[float, Field(ge=0, le=7 * DAY_S, allow_inf_nan=False)]
Schedule = Annotated[list[Delay], Field(max_length=32)]
UrlText = Annotated[
    str,
    Field(
        min_length=1,
        max_length=URL_SIZE_MAX,
        description="http or https, port 80, 443 or from 1024 on, and a host whose addresses are "
        "public.",
        json_schema_extra={"format": "uri"},
    ),
]
SecretText = Annotated[
    str,
    Field(max_length=128, description="`whsec_` and 24 to 64 bytes in base64."),
    shaped(SECRET_TEXT),
]
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


def _checked_value(value: str) -> str:
    """So that the header is named, and not only all of them."""
    if not VALUE.fullmatch(value):
        raise ValueError("must be printable ASCII without spaces at its ends")
    return value


HeaderValue = Annotated[
    str, Field(max_length=SIZE_MAX), shaped(VALUE), AfterValidator(_checked_value)
]
Headers = Annotated[
    dict[str, HeaderValue],
    Field(
        max_length=COUNT_MAX,
        description="Sent with every webhook, their names in lower case. Not those that the sender "
        f"sets itself, no two that differ only in case, and {SIZE_MAX:,} bytes at most in all.",
        json_schema_extra={"propertyNames": {"pattern": f"^(?:{NAME.pattern})$"}},
    ),
    AfterValidator(_checked),
    BeforeValidator(_few),
]


class NewEndpoint(Body):
    """Where a user's events are to be sent. Without `secret` one is made, as is the key for
    `ed25519`, which cannot be brought along."""

    model_config = example(
        {"user": "bob", "url": ENDPOINT["url"]},
        {
            "user": "bob",
            "url": ENDPOINT["url"],
            "types": ["post.*", "task.created"],
            "method": "rest",
            "headers": {"x-tenant": "7"},
            "rate_per_s": 20,
            "retry_schedule_s": [5, 60, 3_600],
            "description": ENDPOINT["description"],
            "secret": SECRET,
        },
        {"user": "bob", "url": ENDPOINT["url"], "signing": "ed25519"},
        never={"signing": {"const": "ed25519"}, "secret": {"type": "string"}},
    )

    user: UserId
    url: UrlText
    types: TypePatterns = DEFAULT_TYPES
    method: MethodWord = "POST"
    headers: Headers = Field(default_factory=dict)
    rate_per_s: Rate | None = None
    retry_schedule_s: Schedule | None = None
    description: Description | None = None
    secret: SecretText | None = None
    signing: SigningWord = "hmac"


class EndpointChange(Body):
    """Only the fields given are changed; null brings an option back to its default."""

    model_config = example({"types": ["*"], "rate_per_s": None})

    url: UrlText = Field(default_factory=str)  # so that no default is described
    types: TypePatterns | None = None
    method: MethodWord | None = None
    headers: Headers | None = None
    rate_per_s: Rate | None = None
    retry_schedule_s: Schedule | None = None
    description: Description | None = None


class Verification(Out):
    """How many challenges the endpoint was sent, what was wrong with the last answer, and when the
    next is sent by itself; null: when a call asks for it."""

    model_config = example(VERIFICATION)

    challenges: int
    last_error: str | None
    next_at: TimeText | None


class Endpoint(Out):
    """An endpoint. The values of its headers are shown to admin keys only."""

    model_config = example(ENDPOINT)

    id: str
    user: str
    url: str
    types: list[str]
    method: MethodWord
    headers: dict[str, str]
    rate_per_s: float | None
    retry_schedule_s: list[float] | None
    description: str | None
    state: StateWord
    disabled_reason: str | None
    created_at: TimeText
    last_success_at: TimeText | None
    consecutive_failures: int
    first_failure_at: TimeText | None
    open_until: TimeText | None
    signing: SigningWord
    public_key: PublicKey
    verification: Annotated[
        Verification | None, Field(description="As long as the endpoint is `unverified`.")
    ]


class FullEndpoint(Endpoint):
    """An endpoint with its newest secret, which no other answer shows; null with `ed25519`, whose
    key never leaves the service."""

    model_config = example(
        {**ENDPOINT, "secret": SECRET},
        {**ENDPOINT, "state": "unverified", "verification": VERIFICATION, "secret": SECRET},
        {**ENDPOINT, "signing": "ed25519", "public_key": PUBLIC_KEY, "secret": None},
    )

    secret: str | None


class Endpoints(Out):
    model_config = example({"items": [ENDPOINT], "next": None})

    items: list[Endpoint]
    next: str | None


class Rotation(Body):
    """For how long the secret before goes on signing beside the new one."""

    model_config = example({"overlap_s": DAY_S})

    overlap_s: Annotated[int, Field(ge=0, le=30 * DAY_S), INTEGRAL] = DAY_S


class Recovery(Body):
    """From when until when (now) everything undelivered is sent again."""

    model_config = example({"since": POSTED_AT, "until": "2026-01-31T14:00:00Z"})

    since: Time
    until: Time | None = None
