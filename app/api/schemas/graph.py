"""The graph in requests and answers."""

from typing import Literal

from pydantic import ConfigDict

from app.api.schemas.fields import Body, Out, UserId


class Users(Out):
    items: list[str]
    next: str | None


class Edge(Body):
    """One line of an import. A friendship is mutual; a follow or block goes from `a` to `b`."""

    model_config = ConfigDict(title="Edge")

    kind: Literal["friend", "follow", "block"]
    a: UserId
    b: UserId


class LineError(Out):
    line: int
    message: str


class Imported(Out):
    """`created` counts new edges, `lines` those that were not blank.

    `errors` has the first 1,000 lines that could not be taken, `errors_omitted` counts the rest.
    """

    created: int
    lines: int
    errors: list[LineError]
    errors_omitted: int
