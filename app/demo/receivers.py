"""The demo's receivers: a real HTTP server for each endpoint, and a note of all that came."""

import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from app.demo.cast import PLANS, Manner
from app.demo.service import HOST
from app.domain.signature import new_secret
from app.receiver import Received, Receiver


@dataclass(frozen=True, slots=True)
class Hook:
    """What somebody registers: where it is, and the secret it checks with."""

    url: str
    secret: str


@dataclass(slots=True)
class Mailbox:
    """What one receiver was sent, by delivery id, in the order it came."""

    manner: Manner
    requests: dict[str, list[Received]] = field(default_factory=lambda: defaultdict(list))

    def take(self, received: Received) -> None:
        self.requests[received.id].append(received)


class Receivers:
    """`async with Receivers(manners, noticed)`; `noticed` is called for every request."""

    def __init__(self, manners: Mapping[str, Manner], noticed: Callable[[Received], None]) -> None:
        self.hooks: dict[str, Hook] = {}
        self.mailboxes: dict[str, Mailbox] = {}
        self._manners = manners
        self._noticed = noticed
        self._open = AsyncExitStack()

    async def __aenter__(self) -> "Receivers":
        async with AsyncExitStack() as started:
            for name, manner in self._manners.items():
                await self._start(name, manner, started)
            self._open = started.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def _start(self, name: str, manner: Manner, started: AsyncExitStack) -> None:
        mailbox = self.mailboxes[name] = Mailbox(manner)
        secret = new_secret(os.urandom)

        def take(received: Received) -> None:
            mailbox.take(received)
            self._noticed(received)

        receiver = Receiver([secret], PLANS[manner], take)
        port = await receiver.start(HOST)
        started.push_async_callback(receiver.stop)
        self.hooks[name] = Hook(f"http://{HOST}:{port}/moments", secret)
