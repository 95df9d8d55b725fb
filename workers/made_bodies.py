"""Webhook bodies made of posts: once for all recipients of an event, and kept for a while."""

from collections import OrderedDict

from app.domain.post import Event, EventKind, Post
from app.wire import WebhookBody, webhook_body

KEPT_MAX = 1_024
KEPT_BYTES_MAX = 32 * 1024 * 1024


class MadeBodies:
    """The bodies of the events used last, up to a number and a size."""

    __slots__ = ("_bytes", "_made")

    def __init__(self) -> None:
        self._made: OrderedDict[Event, tuple[Post, WebhookBody]] = OrderedDict()
        self._bytes = 0

    def of(self, post: Post, event: Event) -> WebhookBody:
        """What is sent of an event, of which `post` is the newest version."""
        made = self._made.get(event)
        if made is not None and made[0] is post:
            return made[1]
        body = webhook_body(post, event)
        if made is not None:
            self._bytes -= size_of(made[1])
        self._made[event] = (post, body)
        self._bytes += size_of(body)
        while len(self._made) > KEPT_MAX or self._bytes > KEPT_BYTES_MAX:
            _, (_, dropped) = self._made.popitem(last=False)
            self._bytes -= size_of(dropped)
        return body


def size_of(body: WebhookBody) -> int:
    return len(body.head) + len(body.tail)


def kind_of(post: Post, version: int) -> EventKind:
    """What the version of a post was, read off its newest one."""
    if version == 1:
        return EventKind.CREATED
    if post.deleted and post.version == version:
        return EventKind.DELETED
    return EventKind.UPDATED
