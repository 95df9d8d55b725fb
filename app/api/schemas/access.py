"""API keys and user tokens in requests and answers."""

from typing import Annotated, Literal

from pydantic import Field

from app.api.schemas.examples import KEY, example
from app.api.schemas.fields import INTEGRAL, Body, Out, TimeText, left_out
from app.settings import RATE_PER_S_MAX

ScopeWord = Literal["admin", "publish", "read"]
VerifyEndpoints = Annotated[
    bool,
    Field(
        description="Endpoints made with this key, or aimed at another url, have to echo a "
        "challenge before they are sent anything else, whatever the settings say."
    ),
]
TOKEN_TTL_DEFAULT_S = 3_600
RATE_PER_S_MIN = 0.01
TOKEN_TTL_MAX_S = 10 * 365 * 86_400  # whatever the setting says


class NewKey(Body):
    model_config = example(
        {"name": "importer", "scopes": ["publish", "read"], "rate_per_s": 200},
        {"name": "customers", "scopes": ["admin"], "verify_endpoints": True},
    )

    name: Annotated[str, Field(min_length=1, max_length=128)]
    scopes: Annotated[list[ScopeWord], Field(min_length=1, max_length=3)]
    rate_per_s: Annotated[
        float | None,
        Field(
            ge=RATE_PER_S_MIN,
            le=RATE_PER_S_MAX,
            description="Requests a second, and so many at once, at one api process. Without it "
            "the service's own limit holds, which there is none of for the scope `admin`.",
        ),
    ] = None
    verify_endpoints: VerifyEndpoints = False


class Key(Out):
    """`id` names the key in calls and logs, `hint` is how its secret begins. `rate_per_s` is a
    rate of its own."""

    model_config = example(KEY)

    id: str
    hint: str
    name: str
    scopes: list[ScopeWord]
    verify_endpoints: VerifyEndpoints
    created_at: TimeText
    rate_per_s: float | None = left_out()


class MadeKey(Key):
    """`key` is the secret itself. It is kept only as a digest and never shown again."""

    model_config = example({**KEY, "key": "mk_8sKq2vNR0wJc4mY1pZ6dTgUe9aXhLb7fQiOoSrEtWyA"})

    key: str


class Keys(Out):
    model_config = example({"items": [KEY], "next": None})

    items: list[Key]
    next: str | None


class NewToken(Body):
    """For how long the token is to hold; how long it may is a setting of the service."""

    model_config = example({"ttl_s": 3_600})

    ttl_s: Annotated[int, Field(ge=1, le=TOKEN_TTL_MAX_S), INTEGRAL] = TOKEN_TTL_DEFAULT_S


class Token(Out):
    model_config = example(
        {
            "token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJib2IifQ.c2lnbmF0dXJl",
            "expires_at": "2026-01-31T13:00:00.000Z",
        }
    )

    token: str
    expires_at: TimeText
