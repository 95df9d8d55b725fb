"""Which server has a key: the one server, the primary that Sentinels name, or a cluster's."""

import asyncio
import binascii
import time
from collections.abc import Callable, Iterable
from typing import Any

from app.errors import (
    CommandRejected,
    Redirected,
    StoreError,
    StoreUnavailable,
    StoreUnfit,
)
from app.store.connection import pack
from app.store.server import Server
from app.store.url import Address

SLOTS = 16_384
REFRESH_INTERVAL_S = 0.1

_CLUSTER_SLOTS = pack(("CLUSTER", "SLOTS"))


def slot_of(key: bytes) -> int:
    """The cluster slot of a key: CRC16 (XModem) of its hash tag, else of all of it.

    See "Hash tags" in https://valkey.io/topics/cluster-spec/.
    """
    start = key.find(b"{") + 1
    if start:
        end = key.find(b"}", start)
        if end > start:
            key = key[start:end]
    return binascii.crc_hqx(key, 0) % SLOTS


class OneServer:
    """Every key is on the same server."""

    is_stale = False

    def __init__(self, server: Server) -> None:
        self._server = server

    @property
    def servers(self) -> list[Server]:
        return [self._server]

    def server_of(self, key: bytes) -> Server:
        return self._server

    def groups(self, shards: Iterable[int]) -> list[list[int]]:
        together = list(shards)
        return [together] if together else []

    def redirect(self, error: Redirected, key: bytes, asked: Server) -> Server | None:
        raise StoreUnfit(
            f"{asked.name} belongs to a cluster ({error}): write redis+cluster:// in its URL"
        )

    def suspect(self) -> None:
        """Nothing to find out: the server connects anew by itself."""

    async def refresh(self) -> None:
        """Nothing to find out."""

    async def close(self) -> None:
        await self._server.close()


class Cluster:
    """Keys are spread by slot over the primaries of a cluster."""

    def __init__(self, seeds: Iterable[Address], serve: Callable[[Address], Server]) -> None:
        self._serve = serve
        self._seeds = tuple(seeds)
        self._by_address: dict[Address, Server] = {}
        self._by_slot: list[Server | None] = []
        self._primaries: list[Server] = []
        self._refreshing = asyncio.Lock()
        self._suspected = True
        self._asked_at = -REFRESH_INTERVAL_S

    @property
    def is_stale(self) -> bool:
        """A reply has shown, not just before, that the table of slots may be wrong."""
        return self._suspected and time.monotonic() - self._asked_at >= REFRESH_INTERVAL_S

    @property
    def servers(self) -> list[Server]:
        return self._primaries

    def server_of(self, key: bytes) -> Server:
        slot = slot_of(key)
        server = self._by_slot[slot] if self._by_slot else None
        if server is None:
            self.suspect()
            raise StoreUnavailable(f"no server of the cluster is known to have slot {slot}")
        return server

    def groups(self, shards: Iterable[int]) -> list[list[int]]:
        return [[shard] for shard in shards]  # all keys of a command must share a slot

    def redirect(self, error: Redirected, key: bytes, asked: Server) -> Server | None:
        """The server to ask this once (ASK), or None: where the table says now."""
        if error.address is None:
            return None
        host, port = error.address
        server = self._server_at(Address(host or asked.host, port))
        if error.once:
            return server
        self._by_slot[slot_of(key)] = server
        self.suspect()
        return None

    def suspect(self) -> None:
        """Something moved or broke: the table is asked for again before the next command."""
        self._suspected = True

    async def refresh(self) -> None:
        """Asks for the table of slots. Raises StoreUnavailable when there never was one."""
        async with self._refreshing:
            if not self.is_stale:  # somebody else has just done it
                return
            self._asked_at = time.monotonic()
            try:
                self._learn(*await self._ask_any())
            except StoreUnavailable:
                if not self._by_slot:
                    self._asked_at = -REFRESH_INTERVAL_S
                    raise

    async def close(self) -> None:
        for server in self._by_address.values():
            await server.close()

    async def _ask_any(self) -> tuple[Server, list[Any]]:
        """The table, and who gave it: whoever is connected first, then those named in the URL."""
        connected = [server for server in self._primaries if server.shared is not None]
        seeds = [self._server_at(address) for address in self._seeds]
        reasons: list[str] = []
        for server in dict.fromkeys([*connected, *self._primaries, *seeds]):
            try:
                [table] = await (await server.connect()).send(_CLUSTER_SLOTS, 1)
            except StoreUnavailable as error:
                reasons.append(str(error))
                continue
            if isinstance(table, CommandRejected):
                raise StoreUnfit(f"{server.name} is no cluster ({table}): write redis:// instead")
            if isinstance(table, StoreError):
                reasons.append(str(table))
            elif table:
                return server, table
        raise StoreUnavailable(f"no server of the cluster answers: {'; '.join(reasons)}")

    def _learn(self, teller: Server, table: list[Any]) -> None:
        """Takes over a reply of CLUSTER SLOTS: [first, last, [host, port, …], replicas…] each."""
        by_slot: list[Server | None] = [None] * SLOTS
        for first, last, primary, *_ in table:
            host = primary[0].decode() if primary[0] else teller.host
            server = self._server_at(Address(host, primary[1]))
            by_slot[first : last + 1] = [server] * (last + 1 - first)
        self._by_slot = by_slot
        self._primaries = [s for s in dict.fromkeys(by_slot) if s is not None]
        self._suspected = None in by_slot
        self._forget_the_others()

    def _forget_the_others(self) -> None:
        keep = {*self._primaries, *(self._server_at(address) for address in self._seeds)}
        for address, server in list(self._by_address.items()):
            if server not in keep:
                server.drop("it has no slots any more")
                del self._by_address[address]

    def _server_at(self, address: Address) -> Server:
        server = self._by_address.get(address)
        if server is None:
            server = self._by_address[address] = self._serve(address)
        return server
