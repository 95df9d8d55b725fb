"""The mark in every post: when it was meant to be posted, so that whoever gets it knows its age."""

import re
from typing import Final, NamedTuple

_MARK: Final = re.compile(rb'"mark":\s?"(\d+)\.(\d+)\.(\w)"')


class Mark(NamedTuple):
    """`due_us`: the monotonic time at which the post was to be sent. `phase`: a number."""

    due_us: int
    phase: int
    kind: str


def encode_mark(due_us: int, phase: int, kind: str) -> str:
    """A value for the field `mark` of a post's data."""
    return f"{due_us}.{phase}.{kind}"


def find_mark(payload: bytes) -> Mark | None:
    """The mark in a webhook's body or a socket's frame; None when it is no post of ours."""
    found = _MARK.search(payload)
    if found is None:
        return None
    due_us, phase, kind = found.groups()
    return Mark(int(due_us), int(phase), kind.decode())
