"""One request on its way to an outcome."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from app.domain.address import Url
from app.domain.attempt import Outcome
from workers.http.setup import NotConnected

if TYPE_CHECKING:
    from workers.http.connection import Connection
    from workers.http.pool import Pool

Done = Callable[[Outcome], None]


class Exchange:
    """A request and where it stands: on a `connection`, being set up (`dial`), else waiting.

    This is the handle that `Client.send` returns; callers use `cancel` only. `payload` is the
    whole request, `deadline` a time of `time.monotonic`.
    """

    __slots__ = (
        "_pool",
        "connection",
        "deadline",
        "dial",
        "done",
        "is_resent",
        "is_settled",
        "payload",
        "started",
        "url",
    )

    def __init__(
        self, pool: "Pool", url: Url, payload: bytes, done: Done, deadline_s: float
    ) -> None:
        self._pool = pool
        self.url = url
        self.payload = payload
        self.done = done
        self.started = now = monotonic()
        self.deadline = now + deadline_s
        self.connection: Connection | None = None
        self.dial: asyncio.Task[NotConnected | None] | None = None
        self.is_resent = False
        self.is_settled = False

    def cancel(self) -> None:
        """Give the request up and close its connection. `done` will not be called.

        Does nothing when there is an outcome already. The server may have got the request.
        """
        if not self.is_settled:
            self._pool.cancel(self)
