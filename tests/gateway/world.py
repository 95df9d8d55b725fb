"""A gateway on a real store, and what the rest of the service does around it."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from app.clock import now_ms
from app.domain.post import Event, EventKind, Post
from app.domain.shard import shard_of
from app.gateway.limits import Limits
from app.store import keys
from app.store.bodies import Bodies
from app.store.client import Store
from app.store.inbox import Inbox
from app.store.nodes import Node
from app.wire import encode_json
from tests.gateway.gate import AT_ONCE, SHARDS, Gate, running
from tests.store.service import ANYBODY, Service, fan_out, finish

NODE = "gateway-test"


class World:
    """`gate` is the gateway; everything else goes past it, straight to the store."""

    def __init__(self, store: Store, gate: Gate, node: Node) -> None:
        self.store = store
        self.gate = gate
        self.node = node
        self.service = Service.on(store, SHARDS)

    async def post(self, text: str = "hello", author: str = "ann") -> Post:
        """A post that nobody has yet."""
        accepted = await self.service.posts.accept(
            author, "post", encode_json({"text": text}), ANYBODY, idempotency=None, now_ms=now_ms()
        )
        return accepted.post

    async def publish(self, *users: str, text: str = "hello", **limits: int) -> Post:
        """A post that is fanned out to these users. Inboxes hold 10 unless `inbox_max` says so."""
        post = await self.post(text)
        await self.fan_out_created(post, *users, **limits)
        return post

    async def fan_out_created(self, post: Post, *users: str, **limits: int) -> None:
        await self.fan_out(Event(post.id, 1, EventKind.CREATED), *users, **limits)

    async def fan_out(self, event: Event, *users: str, **limits: int) -> None:
        await fan_out(self.store, event, users, shards=SHARDS, **limits)
        await finish(self.store, event, 1)

    async def cursor(self, user: str) -> int:
        raw = await self.store.execute("HGET", keys.cursors(shard_of(user, SHARDS)), user)
        return int(raw or 0)

    async def route(self, user: str) -> bytes | None:
        return await self.store.execute("HGET", keys.routes(shard_of(user, SHARDS)), user)

    async def has_cursor(self, user: str, offset: int) -> bool:
        return await self.cursor(user) == offset


@asynccontextmanager
async def world_on(
    store: Store, *, around: Store | None = None, limits: Limits = AT_ONCE, **options: Any
) -> AsyncIterator[World]:
    """A gateway that reaches the store by `store`; everything else does so by `around`."""
    around = around or store
    node = Node(store, SHARDS, NODE)
    bodies = Bodies(Service.on(store, SHARDS).posts)
    async with running(node, Inbox(store, SHARDS), bodies, limits=limits, **options) as gate:
        yield World(around, gate, node)


def small_listener(bytes_max: int) -> socket.socket:
    """A socket to listen on, whose connections hold little in the kernel."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, bytes_max)
    listener.bind(("127.0.0.1", 0))
    return listener
