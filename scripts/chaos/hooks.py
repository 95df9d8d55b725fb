"""The receivers of webhooks: real HTTP servers, and a note of every request that came."""

import os
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Self

from app.domain.signature import new_secret
from app.receiver import Plan, Received, Receiver
from scripts.chaos.cast import Hook
from scripts.chaos.fleet import HOST


@dataclass(frozen=True, slots=True)
class Receipt:
    """A request as it came to `endpoint`'s receiver, and the status it was answered with."""

    at_ms: int
    endpoint: str
    id: str
    status: int
    is_signed: bool
    attempt: int
    type: str
    recipient: str
    offset: int
    post: str

    @property
    def is_accepted(self) -> bool:
        return self.status < 300


class Hooks:
    """`async with Hooks(hooks)`. `receipts` is all that came, in the order in which it did."""

    def __init__(self, hooks: Sequence[Hook], random: random.Random) -> None:
        self.receipts: list[Receipt] = []
        self.urls: dict[Hook, str] = {}
        self.secrets: dict[Hook, str] = {}
        self._hooks = hooks
        self._seed = random.randrange(1 << 32)
        self._names: dict[Hook, str] = {}
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as started:
            for number, hook in enumerate(self._hooks):
                await self._start(hook, self._seed + number, started)
            self._open = started.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    def name(self, hook: Hook, endpoint: str) -> None:
        """The endpoint that a receiver was registered as."""
        self._names[hook] = endpoint

    async def _start(self, hook: Hook, seed: int, started: AsyncExitStack) -> None:
        secret = self.secrets[hook] = new_secret(os.urandom)
        plan = Plan(fail=hook.fail, status=500, delay_s=hook.delay_s)

        def take(received: Received) -> None:
            self.receipts.append(_receipt(self._names[hook], received))

        receiver = Receiver([secret], plan, take, seed)
        port = await receiver.start(HOST)
        started.push_async_callback(receiver.stop)
        self.urls[hook] = f"http://{HOST}:{port}/chaos"


def _receipt(endpoint: str, received: Received) -> Receipt:
    event = received.event()
    post = event.get("data", {}).get("post", {})
    return Receipt(
        at_ms=received.at_ms,
        endpoint=endpoint,
        id=received.id,
        status=received.status,
        is_signed=bool(received.verdict),
        attempt=int(received.attempt or 0),
        type=event.get("type", ""),
        recipient=event.get("recipient", ""),
        offset=event.get("offset", 0),
        post=post.get("id", ""),
    )
