"""Push servers under test, as the benchmark of the gateway sees them: all of them in one way."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

# In every message once, and nowhere else: by this the clients count what has come, whatever it
# is packed in.
MARK: Final = "one-delivery"
PAYLOAD: Final = f"{MARK:x<246}"  # with a header of four bytes a frame of 250

# What a client says, and what has to be in the answer before it goes on.
Talk = Sequence[tuple[bytes, bytes]]


class PushServer(Protocol):
    """One that runs. Everybody who talks to it as it wants receives all that is published."""

    @property
    def name(self) -> str: ...

    @property
    def port(self) -> int: ...

    @property
    def pids(self) -> Sequence[int]: ...

    @property
    def answers(self) -> Mapping[bytes, bytes]:
        """What clients have to answer later on: to pings."""
        ...

    def talk(self, number: int, /) -> Talk:
        """Of the client with this number, from 0."""
        ...

    async def settle(self) -> bool:
        """Lets it be as it is with sockets that have been open, and still, for a long time. True
        when it sends everybody a ping for that."""
        ...

    async def prepare(self, payload: str, times: int) -> None:
        """Makes ready what `publish` then hands out: `times` messages."""
        ...

    async def publish(self) -> None:
        """Returns when it has taken all of it, which may be before everybody has it."""
        ...


@dataclass(frozen=True, slots=True)
class Kind:
    """A push server that can be started, in a directory for what it writes.

    `why_missing` says how to install it, or None when that has been done. `has_sockets`: False for
    one of which only the CPU tells something.
    """

    name: str
    start: Callable[[Path], AbstractAsyncContextManager[PushServer]]
    why_missing: Callable[[], str | None] = field(default=lambda: None)
    has_sockets: bool = True
