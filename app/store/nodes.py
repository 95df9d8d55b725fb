"""Nodes: processes that hold sockets (gateways) or long polls (apis), and what is pushed to them.

A node's id stands in the routes of the users it serves; fan-out then writes to the node's streams,
one a shard. A stream that grew too long is replaced by one mark: the node goes on from the inboxes.
"""

import asyncio
import contextlib
import logging
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from app.clock import now_ms, now_ns
from app.domain.post import Event
from app.domain.shard import shard_of
from app.errors import DecodeError, StoreError
from app.store import keys
from app.store.client import Call, Entry, Store
from app.wire import decode_event, decode_recipients, stream_fields, traceparent_of

log = logging.getLogger(__name__)

READ_MAX = 256  # entries of one stream in one read
BLOCK_MS = 2_000
USERS_MAX = 500  # routes changed in one call
SOCKETS_TTL_S = 120  # of a node's stream, as fan-out gives it
BACKOFF_MAX_S = 5.0


@dataclass(frozen=True, slots=True)
class Push:
    """One entry of a node's stream: an event and the users here that it is for, with offsets.

    `event` None: with recipients, these offsets are to be pushed once more; without, entries were
    lost, and every user of the shard goes on from their inbox.

    `traceparent` is there for a slice that is traced; it was read at `read_ns` of Unix time then.
    """

    shard: int
    event: Event | None
    recipients: tuple[tuple[str, int], ...]
    traceparent: bytes | None = None
    read_ns: int = 0


OnPushes = Callable[[list[Push]], Awaitable[None]]


class Node:
    """This process as a place where users can be reached."""

    def __init__(self, store: Store, shards: int, id_: str, *, life_s: float = 30.0) -> None:
        self._store = store
        self._shards = shards
        self.id = id_
        self._life_s = life_s
        self._beat_at = 0.0
        self.last_read_at = 0.0  # loop time; says whether this node is alive to what is pushed
        self.entries_read = 0
        self.overflows = 0

    async def join(self, users: Collection[str]) -> None:
        """Names this node in the users' routes. Repeating it changes nothing."""
        await self._route("join_node", users)

    async def leave(self, users: Collection[str]) -> None:
        await self._route("leave_node", users)

    async def _route(self, script: str, users: Collection[str]) -> None:
        by_shard: dict[int, list[str]] = defaultdict(list)
        for user in users:
            by_shard[shard_of(user, self._shards)].append(user)
        await self._store.call_many(
            [
                Call(script, [keys.routes(shard)], [self.id, *members])
                for shard, members in by_shard.items()
            ]
        )

    async def run(self, on_pushes: OnPushes, stop: asyncio.Event) -> None:
        """Reads this node's streams until `stop`, and says that it lives.

        Outages of the store are waited out. After one, and after a stall of this process so long
        that others may have given the node up, every shard is reported as overflowed.
        """
        await self._begin(stop)
        async with asyncio.TaskGroup() as tasks:
            reads = [
                tasks.create_task(self._read(group, on_pushes, stop), name=f"node-read-{group[0]}")
                for group in self._store.groups(range(self._shards))
            ]
            beats = tasks.create_task(self._keep_beating(on_pushes, stop), name="node-beat")
            await stop.wait()
            for task in (*reads, beats):
                task.cancel()

    async def _read(self, shards: Sequence[int], on_pushes: OnPushes, stop: asyncio.Event) -> None:
        places = {keys.sockets(shard, self.id): shard for shard in shards}
        # Always from the start: what was read is deleted. Ids cannot be relied on, because a stream
        # that expired begins anew by a clock that may have been set back.
        start = dict.fromkeys(places, b"0")
        failures = 0
        while not stop.is_set():
            try:
                block_ms = 1 if failures else BLOCK_MS  # as soon as it is back, all go on
                replies = await self._store.read_streams(start, count=READ_MAX, block_ms=block_ms)
                self.last_read_at = asyncio.get_running_loop().time()
                if failures:
                    failures = 0
                    await on_pushes([Push(shard, None, ()) for shard in shards])
                if not replies:
                    continue
                pushes = [
                    push
                    for key, entries in replies.items()
                    for push in self._decode(places[key], entries)
                ]
                await on_pushes(pushes)
                await self._trim({key: entries[-1][0] for key, entries in replies.items()})
            except StoreError as error:
                failures += 1
                log.warning("store unavailable", extra={"reader": "sockets", "error": str(error)})
                await asyncio.sleep(_backoff_s(failures))

    def _decode(self, shard: int, entries: Sequence[Entry]) -> list[Push]:
        pushes = [self._push(shard, stream_fields(raw or ())) for _, raw in entries]
        self.entries_read += len(entries)
        return pushes

    def _push(self, shard: int, fields: dict[bytes, bytes]) -> Push:
        """What cannot be read is like what did not fit: the inboxes have it, and are looked at."""
        try:
            if b"u" in fields:
                return Push(shard, None, ((fields[b"u"].decode(), int(fields[b"n"])),))
            if b"o" not in fields:
                event, recipients = decode_event(fields[b"e"]), decode_recipients(fields[b"r"])
                if (traceparent := traceparent_of(fields)) is not None:
                    return Push(shard, event, recipients, traceparent, now_ns())
                return Push(shard, event, recipients)
            self.overflows += 1
        except (DecodeError, KeyError, ValueError) as error:
            log.error("entry cannot be read", extra={"shard": shard, "error": str(error)})
        return Push(shard, None, ())

    async def _trim(self, read: dict[bytes, bytes]) -> None:
        """Deletes what was read: what is in the stream is what this node has still to push."""
        await self._store.run_many(
            [("XTRIM", key, "MINID", _after(entry)) for key, entry in read.items()]
        )

    async def _begin(self, stop: asyncio.Event) -> None:
        """Says for the first time that this node lives; a janitor takes it out of routes else."""
        failures = 0
        while not stop.is_set():
            try:
                return await self.beat()
            except StoreError as error:
                failures += 1
                log.warning("store unavailable", extra={"reader": "beat", "error": str(error)})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_backoff_s(failures)):
                    await stop.wait()

    async def _keep_beating(self, on_pushes: OnPushes, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            await asyncio.sleep(self._life_s / 6)
            late = loop.time() - self._beat_at > self._life_s / 2
            try:
                await self.beat()
            except StoreError as error:
                log.warning("store unavailable", extra={"reader": "beat", "error": str(error)})
                continue
            if late:
                await on_pushes([Push(shard, None, ()) for shard in range(self._shards)])

    async def beat(self) -> None:
        """Says that this node lives."""
        await self._store.execute("ZADD", keys.NODES, now_ms(), self.id)
        self._beat_at = asyncio.get_running_loop().time()

    async def close(self) -> None:
        """Takes this node and its streams away. Routes are left by `leave`, or by the janitor."""
        await self._store.run_many(
            [
                ("ZREM", keys.NODES, self.id),
                *(("DEL", keys.sockets(shard, self.id)) for shard in range(self._shards)),
            ]
        )


async def give_up(store: Store, shard: int, node: str, users: Sequence[str]) -> int:
    """Takes a node that seems dead out of users' routes; returns how many named it.

    Its stream then holds the mark of an overflow alone: a node that lives after all, because it
    was the clocks that differed, reads it and joins again.
    """
    changed = 0
    for start in range(0, len(users), USERS_MAX):
        part = users[start : start + USERS_MAX]
        changed += await store.call("leave_node", [keys.routes(shard)], [node, *part])
    await store.call("mark_overflow", [keys.sockets(shard, node)], [SOCKETS_TTL_S])
    return changed


def _after(entry_id: bytes) -> bytes:
    """The smallest id greater than this one."""
    ms, _, sequence = entry_id.partition(b"-")
    return b"%b-%d" % (ms, int(sequence) + 1)


def _backoff_s(failures: int) -> float:
    return random.uniform(0.5, 1.0) * min(BACKOFF_MAX_S, 0.1 * 2 ** min(failures, 10))
