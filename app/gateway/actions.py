"""What a session decides is to be said or done; others do it."""

from dataclasses import dataclass
from enum import Enum, auto

from app.domain.close_codes import CloseCode


class Verdict(Enum):
    """What is to be done about a push. REFUSE: more is owed than can be remembered."""

    WRITE = auto()
    READ = auto()
    NOTHING = auto()
    REFUSE = auto()


# As module names, see `app.gateway.session`.
WRITE, READ, NOTHING, REFUSE = Verdict.WRITE, Verdict.READ, Verdict.NOTHING, Verdict.REFUSE


@dataclass(frozen=True, slots=True)
class Hello:
    """The first thing said: the newest offset of the inbox, and the acknowledged cursor."""

    head: int
    cursor: int


@dataclass(frozen=True, slots=True)
class Reset:
    """The client's offset means nothing here; from the start of what there is."""


@dataclass(frozen=True, slots=True)
class Gap:
    """These offsets, both included, are trimmed away and will not come."""

    first: int
    last: int


Said = Hello | Reset | Gap


@dataclass(frozen=True, slots=True)
class Repush:
    """`offset`, the oldest unacknowledged, and what follows is pushed again.

    `attempts` counts the pushes of `offset`, this one included. With `read` the inbox is to be
    asked for a page; without, one is on its way or the socket takes no more.
    """

    offset: int
    attempts: int
    read: bool


@dataclass(frozen=True, slots=True)
class Advance:
    """The user's cursor goes on to `offset`."""

    offset: int


@dataclass(frozen=True, slots=True)
class Close:
    code: CloseCode
    reason: str


Action = Advance | Repush | Close
