"""A webhook delivery in the hands of a sender, and the stream entry that it came in."""

from typing import TYPE_CHECKING

from app.domain.post import Event, EventKind
from app.wire import WebhookBody

if TYPE_CHECKING:
    from workers.sender import SenderShard
    from workers.target import Target


class Entry:
    """A stream entry, acknowledged when all deliveries in it (`left`) are dealt with.

    `again`: it came from `redeliveries`. `size` is that of the body they share, in bytes.
    `traceparent` is there when the post is traced: of the slice, or in `redeliveries` of the post.
    """

    __slots__ = ("again", "id", "left", "size", "traceparent")

    def __init__(self, id_: bytes, again: bool) -> None:
        self.id = id_
        self.again = again
        self.left = 0
        self.size = 0
        self.traceparent: bytes | None = None


class Item:
    """One delivery. `attempts` were made before, `base` of them before its schedule began.

    `status` and `error` are of the last attempt; 0 and "" before the first. `due_ms` is when it was
    due, 0 when it had no time of its own.
    """

    __slots__ = (
        "_id",
        "attempts",
        "base",
        "body",
        "due_ms",
        "endpoint",
        "entry",
        "error",
        "event",
        "offset",
        "owner",
        "slice",
        "started_ms",
        "status",
        "target",
        "user",
    )

    def __init__(
        self,
        owner: "SenderShard",
        entry: Entry,
        event: Event,
        slice_: int,
        endpoint: str,
        user: str,
        offset: int,
    ) -> None:
        self.owner = owner
        self.entry = entry
        self.event = event
        self.slice = slice_
        self.endpoint = endpoint
        self.user = user
        self.offset = offset
        self.attempts = 0
        self.base = 0
        self.status = 0
        self.error = ""
        self.body: WebhookBody | None = None
        self.target: Target | None = None
        self.started_ms = 0
        self.due_ms = 0
        self._id = ""

    @property
    def id(self) -> str:
        """The delivery's id, which is the `webhook-id` of every attempt."""
        if not self._id:
            event = self.event
            self._id = f"{event.post}-{event.version}-{self.slice}-{self.endpoint}"
        return self._id

    @property
    def is_deletion(self) -> bool:
        return self.event.kind is EventKind.DELETED

    @property
    def place(self) -> tuple[str, int, int]:
        return self.event.post, self.event.version, self.slice
