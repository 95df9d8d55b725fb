"""Looking names up: the system's resolver, on threads of its own."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from app.errors import Unresolved

# What a guard needs: all addresses of a name as text, in the order to try them. A name without
# one, and a resolver that cannot be asked, is an `OSError` or `Unresolved`.
Resolve = Callable[[str], Awaitable[Sequence[str]]]


class Resolver:
    """The system's `getaddrinfo`, at most once at a time for each name.

    A name whose servers do not answer holds a thread for as long as the system waits (ten seconds
    and more), so it must hold one only, and not one of the few that the rest of the process
    shares: with the event loop's own four, four such names would stop every other look-up.
    """

    __slots__ = ("_executor", "_lookups", "_lookups_max")

    def __init__(self, *, threads_max: int = 32, lookups_max: int = 1024) -> None:
        self._executor = ThreadPoolExecutor(threads_max, thread_name_prefix="resolve")
        self._lookups: dict[str, asyncio.Future[list[str]]] = {}
        self._lookups_max = lookups_max

    async def resolve(self, host: str) -> list[str]:
        """All addresses of `host` (ASCII). Raises `OSError`, or `Unresolved` when 1,024 other
        names are being looked up already."""
        lookup = self._lookups.get(host)
        if lookup is None:
            if len(self._lookups) >= self._lookups_max:
                raise Unresolved(f"Too many names are being looked up to look up {host} as well.")
            loop = asyncio.get_running_loop()
            lookup = loop.run_in_executor(self._executor, _getaddrinfo, host)
            self._lookups[host] = lookup
            lookup.add_done_callback(lambda done: self._forget(host, done))
        return await asyncio.shield(lookup)

    def close(self) -> None:
        """Take no more names. A look-up that hangs is left to the system's own time limit."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _forget(self, host: str, lookup: asyncio.Future[list[str]]) -> None:
        del self._lookups[host]
        # Nobody may be waiting any more; then this is the only look at how it ended.
        if not lookup.cancelled():
            lookup.exception()


def _getaddrinfo(host: str) -> list[str]:
    # As bytes, because Python would apply the older IDNA to text. Both families, always: what is
    # not reachable from here must still be judged.
    answers = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
    return [str(answer[4][0]) for answer in answers]
