"""The topics `post:ID`: the deliveries of one post, as they change."""

import time
from collections.abc import Callable
from typing import Final

from app.api.services import Services
from app.store.watched import Change, WatchedPost
from app.wire import encode_json

SOON_S: Final = 0.25  # after something has changed
LATE_S: Final = 5.0  # when nothing has for a while
SLOWER: Final = 1.5  # by which the pause grows while nothing changes
THOROUGH_S: Final = 2.0  # between two looks that do not rely on the tally


class PostSource:
    """A post's deliveries. `clock` is in monotonic seconds.

    Looks are seldom while nothing changes. Once all is settled a look costs the post's progress
    and its tallies, and no more.
    """

    def __init__(
        self,
        services: Services,
        post_id: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._post = WatchedPost(services.store, services.shards, services.posts, post_id)
        self._stats = services.stats
        self._clock = clock
        self._looked_closely_at = 0.0
        self._was_cut = False
        self.pause_s = SOON_S

    async def look(self, *, thorough: bool) -> str | None:
        now = self._clock()
        closely = thorough or now - self._looked_closely_at >= THOROUGH_S
        if closely:
            self._looked_closely_at = now
        change = await self._post.look(thorough=closely)
        if change.cut and not self._was_cut:
            self._was_cut = True
            self._stats.console_limits["recipients"] += 1
        if change.is_empty:
            slower = LATE_S if self._post.is_settled else min(self.pause_s * SLOWER, LATE_S)
            self.pause_s = slower
            return None
        self.pause_s = SOON_S
        return self._message(change)

    def whole(self) -> str:
        return self._message(self._post.whole())

    def _message(self, change: Change) -> str:
        fields = {"type": "post", "id": self._post.id, "settled": self._post.is_settled}
        return encode_json({**fields, **change.as_fields()}).decode()
