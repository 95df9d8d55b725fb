"""Leases: which worker owns which shard, for which role."""

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from app.errors import StoreError
from app.store import keys
from app.store.client import Call, Store


@dataclass(frozen=True, slots=True)
class Slot:
    """What one lease is for."""

    role: str
    shard: int

    @property
    def key(self) -> bytes:
        return keys.lease(self.shard, self.role)


class Leases:
    """The leases of one worker. Its token is random, so that no two workers can share one."""

    def __init__(self, store: Store, worker_id: str, *, life_s: float) -> None:
        self._store = store
        self.worker_id = worker_id
        self.token = f"{worker_id}.{secrets.token_hex(6)}".encode()
        self.life_s = life_s
        self.life_ms = round(life_s * 1000)

    async def acquire(self, slots: Sequence[Slot]) -> list[Slot]:
        """Those of the slots that were free, or ours without our knowing, and are ours now."""
        answers = await self._ask("acquire_lease", slots)
        return [slot for slot, answer in answers.items() if answer]

    async def renew(self, slots: Collection[Slot]) -> dict[Slot, bool]:
        """Which of the slots are still ours. Those the store has not answered for are left out."""
        return await self._ask("renew_lease", slots)

    async def _ask(self, script: str, slots: Collection[Slot]) -> dict[Slot, bool]:
        """Runs a script on each lease. Raises only when the store has answered for none."""
        calls = [Call(script, [slot.key], [self.token, self.life_ms]) for slot in slots]
        answers = await self._store.call_many(calls, return_exceptions=True)
        found = {
            slot: bool(answer)
            for slot, answer in zip(slots, answers, strict=True)
            if not isinstance(answer, StoreError)
        }
        if answers and not found:
            raise answers[0]
        return found

    async def release(self, slots: Collection[Slot]) -> None:
        calls = [Call("release_lease", [slot.key], [self.token]) for slot in slots]
        await self._store.call_many(calls)

    async def beat(self, role: str, now_ms: int) -> int:
        """Says that this worker lives, and returns how many live workers have the role.

        Whoever seems to have said so in time to come is swept too: by a clock since set back, the
        dead would count for ever, and nobody would take over what is theirs.
        """
        member = f"{role}:{self.worker_id}"
        _, _, _, members = await self._store.run_many(
            [
                ("ZADD", keys.WORKERS, now_ms, member),
                ("ZREMRANGEBYSCORE", keys.WORKERS, "-inf", now_ms - self.life_ms),
                ("ZREMRANGEBYSCORE", keys.WORKERS, now_ms + self.life_ms, "+inf"),
                ("ZRANGE", keys.WORKERS, 0, -1),
            ]
        )
        return sum(1 for name in members if name.startswith(f"{role}:".encode()))

    async def leave(self, roles: Collection[str]) -> None:
        members = [f"{role}:{self.worker_id}" for role in roles]
        await self._store.execute("ZREM", keys.WORKERS, *members)
