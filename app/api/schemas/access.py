"""API keys and user tokens in requests and answers."""

from typing import Annotated, Literal

from pydantic import Field

from app.api.schemas.fields import Body, Out, TimeText

ScopeWord = Literal["admin", "publish", "read"]
TOKEN_TTL_DEFAULT_S = 3_600


class NewKey(Body):
    name: Annotated[str, Field(min_length=1, max_length=128)]
    scopes: Annotated[list[ScopeWord], Field(min_length=1, max_length=3)]


class Key(Out):
    """`id` names the key in calls and logs, `hint` is how its secret begins."""

    id: str
    hint: str
    name: str
    scopes: list[ScopeWord]
    created_at: TimeText


class MadeKey(Key):
    """`key` is the secret itself. It is kept only as a digest and never shown again."""

    key: str


class Keys(Out):
    items: list[Key]
    next: str | None


class NewToken(Body):
    ttl_s: Annotated[int, Field(ge=1)] = TOKEN_TTL_DEFAULT_S


class Token(Out):
    token: str
    expires_at: TimeText
