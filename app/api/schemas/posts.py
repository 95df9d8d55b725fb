"""Posts in requests and answers."""

from typing import Annotated, Any, Literal

from pydantic import FailFast, Field, model_validator
from typing_extensions import TypeAliasType

from app.api.schemas.examples import DATA, POST, POSTED_AT, example
from app.api.schemas.fields import (
    LIMIT_DEFAULT,
    Body,
    Limit,
    Out,
    PostId,
    Query,
    TimeText,
    TypeWord,
    UserId,
    left_out,
)

AUDIENCE_MAX = 10_000
_HEAD = {**{name: POST[name] for name in POST if name != "data"}, "updated_at": POSTED_AT}

# One wrong id is enough: ten thousand messages would help nobody. (A named alias, because Python
# 3.11 wants the parts of a union hashable and FailFast is not.)
UserIds = TypeAliasType(
    "UserIds", Annotated[list[UserId], FailFast(), Field(max_length=AUDIENCE_MAX)]
)


class Audience(Body):
    """Cuts the author's audience: at most one of the two."""

    model_config = example(
        {"except": ["dan"]},
        {"only": ["bob", "cyd"]},
        never={"only": {"type": "array"}, "except": {"type": "array"}},
    )

    only: UserIds | None = None
    excepted: UserIds | None = Field(default=None, alias="except")

    @model_validator(mode="after")
    def _check_one(self) -> "Audience":
        if self.only is not None and self.excepted is not None:
            raise ValueError("give `only` or `except`, not both")
        return self


class NewPost(Body):
    """Something an author has to say. Its `type` is a word of the author's choosing."""

    model_config = example(
        {"author": "ann", "data": DATA},
        {
            "author": "ann",
            "type": "task",
            "data": {"id": 7, "done": True},
            "audience": {"only": ["bob"]},
        },
    )

    author: UserId
    data: dict[str, Any] = Field(description="Whatever the author has to say; pushed as it is.")
    type: TypeWord = "post"
    audience: Audience | None = None


class PostPage(Query):
    """A page of posts: `after` is the last one of the page before."""

    after: PostId | None = None
    limit: Limit = LIMIT_DEFAULT


class PostEdit(Body):
    model_config = example({"data": {"text": "Down again"}})

    data: dict[str, Any]


class PostHead(Out):
    """A post without its data."""

    model_config = example(_HEAD)

    id: str
    author: str
    type: str
    version: int
    created_at: TimeText
    updated_at: TimeText
    deleted: Literal[True] | None = left_out()


class Posts(Out):
    """The newest posts; of each shard those that wait for fan-out, and the 500 fanned out last."""

    model_config = example({"items": [_HEAD], "next": None})

    items: list[PostHead]
    next: str | None


class Post(Out):
    """A post. Once deleted it has `deleted` and no data."""

    model_config = example({**POST, "updated_at": POSTED_AT})

    id: str
    author: str
    type: str
    version: int
    created_at: TimeText
    updated_at: TimeText
    deleted: Literal[True] | None = left_out()
    data: dict[str, Any] | None
