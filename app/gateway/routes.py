"""Which users' routes name this node: brought in line with who has a socket here, in batches.

Not what happened is kept, but whose users' state may differ from the store's. So a user who left
and came back within one batch costs nothing, and no order of joins and leaves can be wrong: one
task writes them, one call after the other, and looks at each user's state when it does.
"""

import asyncio
from collections.abc import Callable, Collection
from itertools import islice
from typing import Final, Protocol

from app.errors import StoreError
from app.gateway.backoff import Backoff
from app.gateway.stats import Stats

USERS_MAX: Final = 1_000  # in one call


class Routing(Protocol):
    """Where routes are written: `app.store.nodes.Node`."""

    async def join(self, users: Collection[str]) -> None: ...
    async def leave(self, users: Collection[str]) -> None: ...


class Routes:
    def __init__(
        self,
        node: Routing,
        stats: Stats,
        *,
        is_here: Callable[[str], bool],
        joined: Callable[[str], None],
    ) -> None:
        """`is_here`: whether a user has a socket here now. `joined` is told of users whose route
        names this node from now on."""
        self._node = node
        self._is_here = is_here
        self._tell = joined
        self._changed: dict[str, None] = {}  # in the order of the changes
        self._named: set[str] = set()  # whose route may name this node
        self._joined: set[str] = set()  # whose route certainly does, and who were told
        self._wake = asyncio.Event()
        self._backoff = Backoff("routes", stats)

    def is_joined(self, user: str) -> bool:
        return user in self._joined

    def changed(self, user: str) -> None:
        """The user's first socket here was opened, or the last was closed."""
        if self._is_here(user) or user in self._named:
            self._changed[user] = None
            self._wake.set()
        else:  # came and went before anything was written
            self._changed.pop(user, None)

    def rejoin(self, users: Collection[str]) -> None:
        """These routes may have been lost."""
        self._joined.difference_update(users)
        self._changed.update(dict.fromkeys(users))
        self._wake.set()

    async def run(self) -> None:
        """Works until it is cancelled. A store that does not answer is waited for."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.settle()
            except StoreError as error:
                await asyncio.sleep(self._backoff.failed(error))
                self._wake.set()
            else:
                self._backoff.worked()

    async def settle(self) -> None:
        """Writes all there is. When that fails, or is given up, it is looked at again.

        Raises `StoreError`.
        """
        while self._changed:
            batch = list(islice(self._changed, USERS_MAX))
            for user in batch:
                del self._changed[user]
            try:
                await self._leave([user for user in batch if self._is_left(user)])
                await self._join([user for user in batch if self._is_new(user)])
            except BaseException:
                self._changed.update(dict.fromkeys(batch))
                raise

    def _is_left(self, user: str) -> bool:
        return user in self._named and not self._is_here(user)

    def _is_new(self, user: str) -> bool:
        return user not in self._joined and self._is_here(user)

    async def _leave(self, users: list[str]) -> None:
        if users:
            # Before the call: whoever comes back while it is under way has to be joined again.
            self._joined.difference_update(users)
            await self._node.leave(users)
            self._named.difference_update(users)

    async def _join(self, users: list[str]) -> None:
        if users:
            self._named.update(users)
            await self._node.join(users)
            for user in users:
                # Who changed, or may have been lost, while the call was under way is next.
                if user not in self._changed:
                    self._joined.add(user)
                    self._tell(user)
