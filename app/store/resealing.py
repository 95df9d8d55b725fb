"""Resealing: brings all that is sealed in the store under the newest key, beside a running service.

What it has done shows in the store alone: sealed bytes tell their key. So it can be stopped at any
moment and begun again.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from app.domain.ids import shard_of_id
from app.store import keys
from app.store.client import Call, Store
from app.store.vault import SEALED, Vault

BATCH = 100  # endpoints in one round trip, and about as many users

Change = tuple[str, bytes, bytes]  # field, what it holds, what it is to hold


@dataclass(slots=True)
class Progress:
    """Of one pass: endpoints looked at, sealed anew, and left because no key of ours opens them."""

    shards: int
    shards_done: int = 0
    seen: int = 0
    resealed: int = 0
    lost: int = 0


class Resealing:
    """Goes through the endpoints of every shard, as the routes of their users name them.

    An endpoint that is there all the time is met, in spite of what changes meanwhile; one that is
    made meanwhile is sealed by its maker.
    """

    def __init__(self, store: Store, shards: int, vault: Vault) -> None:
        self._store = store
        self._shards = shards
        self._vault = vault

    async def steps(self) -> AsyncIterator[Progress]:
        """One pass, by `BATCH` endpoints at most: how far it is, each time in the same object.

        Raises StoreError; what was done until then stays done.
        """
        progress = Progress(self._shards)
        for shard in range(self._shards):
            async for ids in self._ids(shard):
                await self._reseal(ids, progress)
                progress.seen += len(ids)
                yield progress
            progress.shards_done += 1
        yield progress

    async def _ids(self, shard: int) -> AsyncIterator[list[str]]:
        cursor = b"0"
        while True:
            cursor, flat = await self._store.execute(
                "HSCAN", keys.routes(shard), cursor, "COUNT", BATCH
            )
            words = b" ".join(flat[1::2]).decode().split()
            ids = [word.partition("=")[0] for word in words if not word.startswith("@")]
            for first in range(0, len(ids), BATCH):
                yield ids[first : first + BATCH]
            if cursor == b"0":
                return

    async def _reseal(self, ids: list[str], progress: Progress) -> None:
        """Until none of them has anything left to be sealed anew: one that was changed just then
        is read again."""
        while ids:
            changes = await self._changes(ids, progress)
            calls = [
                Call("replace_sealed", [_key(id_)], [word for change in each for word in change])
                for id_, each in changes.items()
            ]
            replaced = await self._store.call_many(calls)
            done = {
                id_
                for (id_, each), count in zip(changes.items(), replaced, strict=True)
                if count == len(each)
            }
            progress.resealed += len(done)
            ids = [id_ for id_ in changes if id_ not in done]

    async def _changes(self, ids: list[str], progress: Progress) -> dict[str, list[Change]]:
        """What is to be replaced, of those endpoints that have anything."""
        rows = await self._store.run_many([("HMGET", _key(id_), *SEALED) for id_ in ids])
        found: dict[str, list[Change]] = {}
        for id_, row in zip(ids, rows, strict=True):
            old = [
                (field, raw)
                for field, raw in zip(SEALED, row, strict=True)
                if raw is not None and not self._vault.is_current(raw)
            ]
            new = [(field, raw, self._vault.reseal(id_, field, raw)) for field, raw in old]
            opened = [(field, raw, sealed) for field, raw, sealed in new if sealed is not None]
            progress.lost += len(opened) < len(new)
            if opened:
                found[id_] = opened
        return found


def _key(id_: str) -> bytes:
    return keys.endpoint(shard_of_id(id_), id_)
