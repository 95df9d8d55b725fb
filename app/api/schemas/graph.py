"""The graph in requests and answers."""

from typing import Literal

from app.api.schemas.examples import example
from app.api.schemas.fields import Body, Out, UserId


class Users(Out):
    model_config = example({"items": ["bob", "cyd@example.com"], "next": None})

    items: list[str]
    next: str | None


class Edge(Body):
    """One line of an import. A friendship is mutual; a follow or block goes from `a` to `b`."""

    model_config = example(
        {"kind": "friend", "a": "ann", "b": "bob"}, {"kind": "follow", "a": "cyd", "b": "ann"}
    )

    kind: Literal["friend", "follow", "block"]
    a: UserId
    b: UserId


class LineError(Out):
    model_config = example({"line": 3, "message": "a: String should match a user id"})

    line: int
    message: str


class Imported(Out):
    """`created` counts new edges, `lines` those that were not blank.

    `errors` has the first 1,000 lines that could not be taken, `errors_omitted` counts the rest.
    """

    model_config = example(
        {
            "created": 2,
            "lines": 3,
            "errors": [{"line": 3, "message": "b: must be somebody else"}],
            "errors_omitted": 0,
        }
    )

    created: int
    lines: int
    errors: list[LineError]
    errors_omitted: int
