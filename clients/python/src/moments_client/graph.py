"""The graph: who is friends with whom, who follows and who blocks whom."""

import json
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import NamedTuple

from moments_client.answers import EdgeKind, Imported, Users
from moments_client.listing import Listing
from moments_client.transport import Request, Transport, given, segment

_CHUNK_BYTES = 64 * 1024


class Edge(NamedTuple):
    """One line of an import. A friendship is mutual; a follow or block goes from `a` to `b`."""

    kind: EdgeKind
    a: str
    b: str


class Graph:
    """`moments.graph`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def befriend(self, user: str, other: str) -> None:
        """Makes two users friends, which is mutual."""
        await self._change("PUT", user, "friends", other)

    async def unfriend(self, user: str, other: str) -> None:
        """Ends a friendship, on both sides."""
        await self._change("DELETE", user, "friends", other)

    async def follow(self, user: str, other: str) -> None:
        """Lets `user` follow `other`."""
        await self._change("PUT", user, "follows", other)

    async def unfollow(self, user: str, other: str) -> None:
        """Ends a follow."""
        await self._change("DELETE", user, "follows", other)

    async def block(self, user: str, other: str) -> None:
        """From now on neither sees what the other posts."""
        await self._change("PUT", user, "blocks", other)

    async def unblock(self, user: str, other: str) -> None:
        """Ends a block."""
        await self._change("DELETE", user, "blocks", other)

    def friends(self, user: str, *, limit: int | None = None) -> Listing[Users, str]:
        """A user's friends."""
        return self._list(user, "friends", limit)

    def follows(self, user: str, *, limit: int | None = None) -> Listing[Users, str]:
        """Whom a user follows."""
        return self._list(user, "follows", limit)

    def followers(self, user: str, *, limit: int | None = None) -> Listing[Users, str]:
        """Who follows a user."""
        return self._list(user, "followers", limit)

    def blocks(self, user: str, *, limit: int | None = None) -> Listing[Users, str]:
        """Whom a user blocks."""
        return self._list(user, "blocks", limit)

    async def load(self, edges: Iterable[Edge] | AsyncIterable[Edge]) -> Imported:
        """Imports edges, any number of them: they are sent as they come, and never held together.

        A mistake in one stops no other, and is named in the answer by its line (from 1). It takes
        as long as it takes, and is not repeated; whoever wants to may, since an edge that is there
        stays as it is. When the store goes away meanwhile, the `Unavailable` has `lines_done` among
        its `members`: up to there all is in.
        """
        request = Request(method="POST", path="/v1/graph:import", lines=_chunks(edges))
        return await self._transport.fetch(Imported, request)

    async def _change(self, method: str, user: str, kind: str, other: str) -> None:
        path = f"/v1/users/{segment(user)}/{kind}/{segment(other)}"
        await self._transport.send(Request(method=method, path=path))

    def _list(self, user: str, kind: str, limit: int | None) -> Listing[Users, str]:
        path = f"/v1/users/{segment(user)}/{kind}"
        return Listing(self._transport, Users, str, path, given(limit=limit))


async def _chunks(edges: Iterable[Edge] | AsyncIterable[Edge]) -> AsyncIterator[bytes]:
    """NDJSON, some lines at a time."""
    chunk = bytearray()
    async for kind, a, b in _each(edges):
        chunk += json.dumps({"kind": kind, "a": a, "b": b}).encode() + b"\n"
        if len(chunk) >= _CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)


async def _each(edges: Iterable[Edge] | AsyncIterable[Edge]) -> AsyncIterator[Edge]:
    if isinstance(edges, AsyncIterable):
        async for edge in edges:
            yield edge
    else:
        for edge in edges:
            yield edge
