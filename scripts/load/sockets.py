"""The load process that holds sockets: opens them, reads every frame, answers pings.

    {"do": "open", "url", "sources": [address], "users": [name], "tokens": [token], "at_once"}
        → {"took_s"}; returns when all have said hello
    {"do": "drop"} → null: cuts all of them, as a lost network does
    {"do": "reopen", "at_once"} → {"took_s", "tries"}: all again, from where each had stopped
    {"do": "count"} → {"open", "frames", "closed", "others", "out_of_order"}

`sources` are addresses of ours to connect from, in turn: one has 28,000 ports at most.
"""

import asyncio
import json
import random
import re
from collections import Counter
from itertools import cycle
from typing import cast
from urllib.parse import urlencode, urlsplit

from scripts.load.frames import CLOSE, PING, PONG, BadFrame, FrameReader, client_frame
from scripts.load.orders import Deed, Order, now_us, run
from scripts.load.samples import Samples

HELLO_MAX_S = 120.0  # for all of them
TRY_AGAIN_S = (0.2, 10.0)  # at first, and at most
GROUP = "socket"

_OFFSET = re.compile(rb'"offset":\s?(\d+)')
_END_OF_HEAD = b"\r\n\r\n"


class Clients:
    """All sockets of this process, and what came by them."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples
        self.frames = 0
        self.open = 0
        self.out_of_order = 0
        self.closed: Counter[str] = Counter()
        self.others: Counter[str] = Counter()
        self._clients: list[Client] = []
        self._address = ("", 0)

    async def open_all(self, order: Order) -> dict[str, float]:
        parts = urlsplit(str(order["url"]))
        self._address = (parts.hostname or "", parts.port or 80)
        sources = cycle(order["sources"] or [None])
        new = [Client(self, parts.netloc, token, next(sources)) for token in order["tokens"]]
        self._clients += new
        return await self._connect(new, order["at_once"])

    async def drop(self, order: Order) -> None:
        for client in self._clients:
            client.cut()
        while self.open:
            await asyncio.sleep(0.01)

    async def reopen(self, order: Order) -> dict[str, float]:
        return await self._connect(self._clients, order["at_once"])

    async def count(self, order: Order) -> dict[str, object]:
        return {
            "open": self.open,
            "frames": self.frames,
            "closed": dict(self.closed),
            "others": dict(self.others),
            "out_of_order": self.out_of_order,
        }

    async def _connect(self, clients: "list[Client]", at_once: int) -> dict[str, float]:
        turn = asyncio.Semaphore(at_once)
        began_us, before = now_us(), self.open
        try:
            async with asyncio.timeout(HELLO_MAX_S), asyncio.TaskGroup() as tasks:
                connecting = [
                    tasks.create_task(self._connect_one(client, turn)) for client in clients
                ]
        except TimeoutError:
            greeted = f"{self.open - before:,} of {len(clients):,} were greeted"
            raise TimeoutError(f"{greeted} within {HELLO_MAX_S:.0f} s; {self.closed}") from None
        tries = sum(task.result() for task in connecting)
        return {"took_s": (now_us() - began_us) / 1e6, "tries": tries}

    async def _connect_one(self, client: "Client", turn: asyncio.Semaphore) -> int:
        """Until it has said hello; how many times that had to be tried."""
        tries = 0
        async with turn:
            while True:
                tries += 1
                try:
                    await client.connect(self._address)
                    return tries
                except OSError as error:
                    self.closed[type(error).__name__] += 1
                    await asyncio.sleep(pause_s(tries, random.random()))


def pause_s(tries: int, chance: float) -> float:
    """Twice as long after each try, and spread over all of that: thousands who come back in step
    would only ever meet each other."""
    first_s, longest_s = TRY_AGAIN_S
    return chance * min(longest_s, first_s * 2.0 ** min(tries, 20))


class Client(asyncio.Protocol):
    """One user's socket, over all its connections."""

    __slots__ = (
        "_clients",
        "_epoch",
        "_head",
        "_hello",
        "_host",
        "_offset",
        "_reader",
        "_source",
        "_token",
        "_transport",
    )

    def __init__(self, clients: Clients, host: str, token: str, source: str | None) -> None:
        self._clients = clients
        self._host = host
        self._token = token
        self._source = source
        self._transport: asyncio.Transport | None = None
        self._hello: asyncio.Future[None] | None = None
        self._reader: FrameReader | None = None
        self._head = b""
        self._epoch = ""
        self._offset: int | None = None

    async def connect(self, address: tuple[str, int]) -> None:
        """Returns when the server has said hello. Raises OSError."""
        loop = asyncio.get_running_loop()
        hello = self._hello = loop.create_future()
        local = None if self._source is None else (self._source, 0)
        await loop.create_connection(lambda: self, *address, local_addr=local)
        await hello

    def cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _request(self) -> bytes:
        query = {"token": self._token}
        if self._offset is not None:
            query |= {"after": str(self._offset), "epoch": self._epoch}
        return (
            f"GET /v1/socket?{urlencode(query)} HTTP/1.1\r\nhost: {self._host}\r\n"
            "upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n"
            "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ).encode()

    # Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._reader = None
        self._head = b""
        self._transport.write(self._request())

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        hello, self._hello = self._hello, None
        if hello is not None and not hello.done():
            hello.set_exception(exc or ConnectionResetError("closed before the hello"))
        else:
            self._clients.open -= 1

    def data_received(self, data: bytes) -> None:
        if self._reader is None:
            data = self._read_head(data)
            if self._reader is None:
                return
        at_us = now_us()
        try:
            for opcode, payload in self._reader.feed(data):
                if opcode < CLOSE:
                    self._take(payload, at_us)
                elif opcode == PING:
                    assert self._transport is not None
                    self._transport.write(client_frame(PONG, payload))
                elif opcode == CLOSE:
                    self._note_close(payload)
        except BadFrame:
            self._clients.closed["bad frame"] += 1
            self.cut()

    def _read_head(self, data: bytes) -> bytes:
        """What comes behind the answer to the handshake."""
        head, end, rest = (self._head + data).partition(_END_OF_HEAD)
        if not end:
            self._head = head
            return b""
        status = head[9:12].decode("latin-1")
        if status != "101":
            self._clients.closed[status] += 1
            self.cut()
            return b""
        self._head = b""
        self._reader = FrameReader()
        return rest

    def _take(self, payload: bytes, at_us: int) -> None:
        found = _OFFSET.search(payload)
        clients = self._clients
        if found is not None and clients.samples.note(payload, GROUP, at_us):
            offset = int(found[1])
            clients.frames += 1
            if self._offset is not None and offset != self._offset + 1:
                clients.out_of_order += 1
            self._offset = offset
            return
        message = json.loads(payload)
        if message["type"] == "hello":
            self._greet(message)
        else:
            clients.others[message["type"]] += 1

    def _greet(self, hello: dict[str, object]) -> None:
        self._epoch = str(hello["epoch"])
        if self._offset is None:
            self._offset = cast(int, hello["cursor"])
        self._clients.open += 1
        if self._hello is not None and not self._hello.done():
            self._hello.set_result(None)

    def _note_close(self, payload: bytes) -> None:
        code = str(int.from_bytes(payload[:2], "big")) if len(payload) >= 2 else "1005"
        self._clients.closed[code] += 1
        if self._transport is not None:
            self._transport.close()


def deeds(samples: Samples) -> dict[str, Deed]:
    clients = Clients(samples)
    return {
        "open": clients.open_all,
        "drop": clients.drop,
        "reopen": clients.reopen,
        "count": clients.count,
    }


if __name__ == "__main__":
    run(deeds)
