"""A post, and the events in its life that are pushed to its audience.

The service itself posts too: what a user has to know of their endpoints. Such a post is like any
other on its way, but its author is `SERVICE` and its type holds a dot, which no author's may.
"""

from dataclasses import dataclass
from enum import StrEnum

SERVICE = "/moments"  # no user id begins like this
ENDPOINT_DISABLED = "endpoint.disabled"


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


def event_type(type_: str, kind: EventKind) -> str:
    """What an event is called: `<type>.created`, but a type of the service says it all."""
    if "." in type_ and kind is EventKind.CREATED:
        return type_
    return f"{type_}.{kind.word}"


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
    """Cuts the author's audience. At most one of `only` and `excepted` is set.

    `unasked`: those in `only` get it, whether they are the author's friends or not.
    """

    only: frozenset[str] | None = None
    excepted: frozenset[str] = frozenset()
    unasked: bool = False

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


def accepted_at_ms(post: Post | None, event: Event) -> int:
    """When the event was accepted, in Unix time; 0 when that is known no more, because the post has
    been changed since, or is not kept any longer."""
    if post is None:
        return 0
    if event.kind is EventKind.CREATED:
        return post.created_at_ms
    return post.updated_at_ms if post.version == event.version else 0
