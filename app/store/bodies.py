"""A bounded cache of posts in each process that pushes them: streams carry ids, not bodies."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass

from app.domain.post import Event, Post
from app.store.posts import Posts


@dataclass(frozen=True, slots=True)
class _Fetched:
    post: Post | None


class Bodies:
    """The newest version of posts, kept for `max_age_s`: at most `max_posts` of them, and at most
    `max_bytes` of their data.

    A post younger than the version an event tells of is always fetched again. An edit or deletion
    made elsewhere is seen when its event comes by, or after `max_age_s`.
    """

    def __init__(
        self,
        posts: Posts,
        *,
        max_posts: int = 4_096,
        max_bytes: int = 64 * 1024 * 1024,
        max_age_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._posts = posts
        self._max_posts = max_posts
        self._max_bytes = max_bytes
        self._bytes = 0
        self._max_age_s = max_age_s
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, Post]] = OrderedDict()
        self._fetches: dict[str, asyncio.Future[_Fetched | None]] = {}
        self.hits = 0
        self.misses = 0

    def peek(self, event: Event) -> Post | None:
        """The post if it is here and fresh enough for the event."""
        kept = self._kept.get(event.post)
        if kept is None or kept[1].version < event.version:
            return None
        if self._clock() - kept[0] > self._max_age_s:
            return None
        return kept[1]

    async def get(self, events: Collection[Event]) -> dict[str, Post | None]:
        """The post of each event by its id; None for one that is not kept any more."""
        newest: dict[str, Event] = {}
        for event in events:
            if event.post not in newest or newest[event.post].version < event.version:
                newest[event.post] = event
        found: dict[str, Post | None] = {}
        missing: dict[str, Event] = {}
        for id_, event in newest.items():
            post = self.peek(event)
            if post is not None:
                found[id_] = post
            else:
                missing[id_] = event
        self.hits += len(found)
        self.misses += len(missing)
        while missing:
            found.update(await self._fetch(missing))
            # A fetch under way for somebody else may have begun before this version was made.
            missing = {id_: event for id_, event in missing.items() if id_ not in found}
        return found

    async def _fetch(self, missing: dict[str, Event]) -> dict[str, Post | None]:
        mine = [id_ for id_ in missing if id_ not in self._fetches]
        theirs = {id_: self._fetches[id_] for id_ in missing if id_ in self._fetches}
        found: dict[str, Post | None] = {}
        if mine:
            found.update(await self._fetch_mine(mine))
        for id_, fetch in theirs.items():
            # Shielded: our caller giving up must not take the fetch from the others.
            fetched = await asyncio.shield(fetch)
            if fetched is not None and not _is_older(fetched.post, missing[id_]):
                found[id_] = fetched.post
        return found

    async def _fetch_mine(self, ids: list[str]) -> dict[str, Post | None]:
        loop = asyncio.get_running_loop()
        futures: dict[str, asyncio.Future[_Fetched | None]]
        futures = {id_: loop.create_future() for id_ in ids}
        self._fetches.update(futures)
        posts: dict[str, Post] = {}
        fetched = False
        try:
            posts = await self._posts.get_many(ids)
            fetched = True
        finally:
            # A fetch that failed, or whose caller gave up, leaves the others to fetch themselves.
            for id_, future in futures.items():
                del self._fetches[id_]
                future.set_result(_Fetched(posts.get(id_)) if fetched else None)
        for post in posts.values():
            self._keep(post)
        return {id_: posts.get(id_) for id_ in ids}

    def _keep(self, post: Post) -> None:
        self.forget(post.id)
        self._kept[post.id] = (self._clock(), post)
        self._bytes += len(post.data)
        while len(self._kept) > self._max_posts or self._bytes > self._max_bytes:
            self.forget(next(iter(self._kept)))

    def forget(self, post_id: str) -> None:
        kept = self._kept.pop(post_id, None)
        if kept is not None:
            self._bytes -= len(kept[1].data)


def _is_older(post: Post | None, event: Event) -> bool:
    return post is not None and post.version < event.version
