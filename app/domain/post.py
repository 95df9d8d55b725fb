"""A post, and the events in its life that are pushed to its audience."""

from dataclasses import dataclass
from enum import StrEnum


class EventKind(StrEnum):
    """What happened to a post. The value is its letter in an inbox entry."""

    CREATED = "c"
    UPDATED = "u"
    DELETED = "d"

    @property
    def word(self) -> str:
        return _WORDS[self]


_WORDS = {
    EventKind.CREATED: "created",
    EventKind.UPDATED: "updated",
    EventKind.DELETED: "deleted",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One version of a post on its way to the audience; what inboxes and streams hold.

    `version` starts at 1 with the creation and goes up by one with every edit and with the
    deletion.
    """

    post: str
    version: int
    kind: EventKind


@dataclass(frozen=True, slots=True)
class Audience:
    """Cuts the author's audience. At most one of the two is set."""

    only: frozenset[str] | None = None
    excepted: frozenset[str] = frozenset()

    def admits(self, user: str) -> bool:
        if self.only is not None:
            return user in self.only
        return user not in self.excepted


@dataclass(frozen=True, slots=True)
class Post:
    """A post as stored: its newest version. `data` is the author's JSON text, b"" once deleted."""

    id: str
    author: str
    type: str
    version: int
    created_at_ms: int
    updated_at_ms: int
    data: bytes
    deleted: bool = False
