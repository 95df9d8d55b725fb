"""The graph: friends (mutual), follows (one-way) and blocks, each edge kept at both its ends.

The two ends may lie on two shards, so an edge is two steps. The first step is the one that can be
refused; every call can be repeated, and repeating it completes what a crash left half done.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from app.domain.shard import shard_of
from app.errors import GraphFull
from app.store import keys
from app.store.client import Call, Store


class EdgeKind(StrEnum):
    FRIEND = "friend"
    FOLLOW = "follow"
    BLOCK = "block"


Edge = tuple[EdgeKind, str, str]
Side = Literal["friends", "follows", "followers", "blocks"]

_KEYS = {
    "friends": keys.friends,
    "follows": keys.follows,
    "followers": keys.followers,
    "blocks": keys.blocks,
    "blockers": keys.blockers,
}
# Edge a → b: the set at a that gets b, the set at b that gets a.
_ENDS = {
    EdgeKind.FRIEND: ("friends", "friends"),
    EdgeKind.FOLLOW: ("follows", "followers"),
    EdgeKind.BLOCK: ("blocks", "blockers"),
}


@dataclass(frozen=True, slots=True)
class _End:
    key: bytes
    member: str
    limit: int  # 0: none


class Graph:
    """The edges between users. Sets that others fill (followers, blockers) have no limit."""

    def __init__(
        self, store: Store, shards: int, *, friends_max: int, follows_max: int, blocks_max: int
    ) -> None:
        self._store = store
        self._shards = shards
        self._limits = {"friends": friends_max, "follows": follows_max, "blocks": blocks_max}

    def _ends(self, kind: EdgeKind, a: str, b: str) -> tuple[_End, _End]:
        here, there = _ENDS[kind]
        return self._end(here, a, b), self._end(there, b, a)

    def _end(self, side: str, user: str, member: str) -> _End:
        key = _KEYS[side](shard_of(user, self._shards), user)
        return _End(key, member, self._limits.get(side, 0))

    async def add(self, kind: EdgeKind, a: str, b: str) -> bool:
        """True when the edge is new. Raises `GraphFull`."""
        (result,) = await self.add_many([(kind, a, b)])
        if isinstance(result, GraphFull):
            raise result
        return result

    async def add_many(self, edges: Sequence[Edge]) -> list[bool | GraphFull]:
        """One answer for each edge, in order: True when it is new, or why it was refused."""
        ends = [self._ends(*edge) for edge in edges]
        there = await self._add([end for _, end in ends])
        allowed = [i for i, added in enumerate(there) if added >= 0]
        here = dict(zip(allowed, await self._add([ends[i][0] for i in allowed]), strict=True))
        # An edge refused at its second end must not stay at its first.
        undo = [ends[i][1] for i in allowed if here[i] < 0 and there[i] == 1]
        await self._remove(undo)
        results: list[bool | GraphFull] = []
        for i, (_, a, b) in enumerate(edges):
            if there[i] < 0:
                results.append(GraphFull(b, ends[i][1].limit))
            elif here[i] < 0:
                results.append(GraphFull(a, ends[i][0].limit))
            else:
                results.append(here[i] == 1 or there[i] == 1)
        return results

    async def _add(self, ends: Sequence[_End]) -> list[int]:
        """1 added, 0 there before, -1 refused; one call for each set."""
        places: dict[tuple[bytes, int], list[int]] = defaultdict(list)
        for i, end in enumerate(ends):
            places[end.key, end.limit].append(i)
        calls = [
            Call("add_edges", [key], [limit, *(ends[i].member for i in indexes)])
            for (key, limit), indexes in places.items()
        ]
        results = [0] * len(ends)
        for indexes, answers in zip(
            places.values(), await self._store.call_many(calls), strict=True
        ):
            for i, answer in zip(indexes, answers, strict=True):
                results[i] = answer
        return results

    async def remove(self, kind: EdgeKind, a: str, b: str) -> bool:
        """True when there was such an edge."""
        return any(await self._remove(self._ends(kind, a, b)))

    async def _remove(self, ends: Sequence[_End]) -> list[int]:
        return await self._store.run_many([("ZREM", end.key, end.member) for end in ends])

    async def page(
        self, side: Side, user: str, after: str | None, limit: int
    ) -> tuple[list[str], str | None]:
        """Up to `limit` user ids in the order of their bytes, and the id to go on after."""
        key = _KEYS[side](shard_of(user, self._shards), user)
        low = "-" if after is None else f"({after}"
        found = await self._store.execute("ZRANGE", key, low, "+", "BYLEX", "LIMIT", 0, limit + 1)
        users = [member.decode() for member in found[:limit]]
        return users, users[-1] if len(found) > limit else None
