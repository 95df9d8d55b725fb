"""The store as everything above sees it: scripts, commands and blocking reads, by key.

One path for a single server, Sentinel and cluster. What it costs, and why it does not go through
redis-py: `docs/decisions/002-store-client.md`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from app.errors import StoreError
from app.store.connection import Connection, Word, open_connection, pack
from app.store.dispatch import Dispatcher, Exchange, Request, plain_request, script_request
from app.store.durability import WAIT_MS, Ack
from app.store.script import find_script
from app.store.sentinel import open_primary
from app.store.server import Server
from app.store.topology import Cluster, OneServer
from app.store.url import Address, Kind, Login, StoreUrl

CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 5.0

# An entry of a stream: its id, then its fields and values in turn (None: it has been deleted).
# In truth a list of these two, as the parser makes it.
Entry = tuple[bytes, list[bytes] | None]


@dataclass(frozen=True, slots=True)
class Call:
    """A script to run. `keys` lie in one slot; the first one says on which server it runs."""

    script: str
    keys: Sequence[bytes]
    args: Sequence[Word] = ()


class Store:
    """Everything above talks to the store through this. Made by `connect`.

    Every method raises StoreUnavailable (its subclass ConnectionLost when the command may have
    run), StoreFull, GroupMissing and CommandRejected.

    A script whose reply was lost is sent once more, unless its file says `-- ONCE`. A plain
    command is never sent twice: whoever reads a group's new entries, say, has to know that a
    reply was lost, and go back to what is pending.
    """

    def __init__(self, topology: OneServer | Cluster, answer_timeout_s: float) -> None:
        self._topology = topology
        self._dispatcher = Dispatcher(topology)
        self._answer_timeout_s = answer_timeout_s
        self.traffic = self._dispatcher.traffic

    async def call(
        self,
        script: str,
        keys: Sequence[bytes],
        args: Sequence[Word] = (),
        *,
        durable: Ack = "memory",
    ) -> Any:
        """Runs a script. With `durable` above memory it raises NotDurable when that falls short."""
        request = script_request(find_script(script), keys, args)
        await self._dispatcher.settle((request,), self._exchange(durable))
        return self._result(request)

    async def call_many(
        self,
        calls: Iterable[Call],
        *,
        return_exceptions: bool = False,
        durable: Ack = "memory",
    ) -> list[Any]:
        """Runs scripts that do not depend on each other, in one round trip to each server.

        All run, whatever becomes of the others. Then the first error is raised, or with
        `return_exceptions` each stands in its place.
        """
        requests = [script_request(find_script(c.script), c.keys, c.args) for c in calls]
        await self._dispatcher.settle(requests, self._exchange(durable))
        return self._results(requests, return_exceptions)

    async def settle(self, keys: Iterable[bytes], ack: Ack) -> None:
        """Returns once all that was written before to the servers of these keys is as safe as `ack`
        says. They must have no TTL; what belongs to one that does not exist is not waited for.

        Raises NotDurable.
        """
        if ack != "memory":
            await self.call_many([Call("settle", [key]) for key in keys], durable=ack)

    def _exchange(self, durable: Ack) -> Exchange:
        if durable == "memory":
            return self._dispatcher.together
        return partial(self._dispatcher.safely, ack=durable)

    async def run_many(
        self, commands: Iterable[Sequence[Word]], *, return_exceptions: bool = False
    ) -> list[Any]:
        """The same for plain commands, each with its key behind its name."""
        requests = [plain_request(tuple(command)) for command in commands]
        await self._dispatcher.settle(requests, self._dispatcher.together)
        return self._results(requests, return_exceptions)

    async def execute(self, *command: Word) -> Any:
        """Runs one plain command, which must not block."""
        request = plain_request(command)
        await self._dispatcher.settle((request,), self._dispatcher.together)
        return self._result(request)

    async def broadcast(self, *command: Word) -> list[Any]:
        """Runs one command on every primary; their replies in no particular order."""
        return list((await self.on_each(*command)).values())

    async def on_each(self, *command: Word) -> dict[str, Any]:
        """Runs one command on every primary; their replies by the server's name."""
        if self._topology.is_stale:
            await self._topology.refresh()
        packed = pack(command)
        replies: dict[str, Any] = {}
        for server in self._topology.servers:
            connection = server.shared or await server.connect()
            [replies[server.name]] = await connection.send(packed, 1)
        for reply in replies.values():
            if isinstance(reply, StoreError):
                raise reply
        return replies

    async def read_streams(
        self,
        streams: Mapping[bytes, bytes],
        *,
        count: int,
        block_ms: int,
        group: tuple[bytes, bytes] | None = None,
    ) -> dict[bytes, list[Entry]]:
        """Waits up to `block_ms` for entries behind an id in each stream: key → id.

        With a `group` (its name and the consumer's) this is XREADGROUP, where the id `>` stands
        for entries that are new to the group. The result has the streams with entries, at most
        `count` of each. The streams of one call must be of one of `groups`.

        It blocks a connection of its own, which is cut when the caller is cancelled. A read of
        new entries that was cancelled or lost may have left entries pending that nobody saw.
        """
        if block_ms <= 0:
            raise ValueError("block_ms must be positive; 0 would mean for ever")
        verb = ("XREAD",) if group is None else ("XREADGROUP", "GROUP", *group)
        options = ("COUNT", count, "BLOCK", block_ms, "STREAMS")
        packed = pack((*verb, *options, *streams.keys(), *streams.values()))
        request = Request(next(iter(streams)), packed)
        limit_s = block_ms / 1000 + self._answer_timeout_s
        exchange = partial(self._dispatcher.blocking, limit_s=limit_s)
        await self._dispatcher.settle((request,), exchange)
        return dict(self._result(request) or ())

    def _result(self, request: Request) -> Any:
        if isinstance(request.reply, StoreError):
            self.traffic.errors += 1
            raise request.reply
        return request.reply

    def _results(self, requests: Sequence[Request], return_exceptions: bool) -> list[Any]:
        replies = [request.reply for request in requests]
        errors = [reply for reply in replies if isinstance(reply, StoreError)]
        if errors:
            self.traffic.errors += len(errors)
            if return_exceptions:
                return replies
            if len(errors) > 1:
                errors[0].add_note(
                    f"{len(errors)} of {len(replies)} failed; this is the first error"
                )
            raise errors[0]
        return replies

    @property
    def is_one_server(self) -> bool:
        """Whether all is in one server: what that loses is always the newest, whatever its key."""
        return isinstance(self._topology, OneServer)

    def groups(self, shards: Iterable[int]) -> list[list[int]]:
        """These shards, grouped by what one `read_streams` call can read."""
        return self._topology.groups(shards)

    async def close(self) -> None:
        """Cuts every connection for good: calls under way and later ones fail."""
        await self._topology.close()


def connect(
    url: str,
    *,
    password: str | None = None,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    answer_timeout_s: float = ANSWER_TIMEOUT_S,
    ack_timeout_ms: int = WAIT_MS,
) -> Store:
    """The store at a URL, in one of the forms of `StoreUrl`. It connects when it is first used.
    `password` is for a URL without one.

    A connection that owes an answer and brings nothing for `answer_timeout_s` is cut. What has to
    be on a disk or at a replica waits for that for `ack_timeout_ms`. Raises StoreUrlInvalid.
    """
    where = StoreUrl.parse(url, password)

    async def dial(address: Address, login: Login, shared: bool) -> Connection:
        return await open_connection(
            address,
            login,
            where.tls,
            connect_timeout_s=connect_timeout_s,
            silence_max_s=answer_timeout_s if shared else None,
        )

    server = partial(Server, ack_timeout_ms=ack_timeout_ms)

    def serve(address: Address) -> Server:
        return server(str(address), partial(dial, address, where.login), host=address.host)

    match where.kind:
        case Kind.SINGLE:
            topology = OneServer(serve(where.addresses[0]))
        case Kind.SENTINEL:
            primary = server(f"primary '{where.service}'", partial(open_primary, where, dial))
            topology = OneServer(primary)
        case Kind.CLUSTER:
            topology = Cluster(where.addresses, serve)
    return Store(topology, answer_timeout_s)
