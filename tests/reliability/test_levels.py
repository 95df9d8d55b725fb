"""After load all is as before it: streams, keys, and the memory of every process and the store."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from app.store import keys
from app.store.client import Store
from app.tokens import make_token
from scripts.load.service import OwnService
from tests.opened_store import opened
from tests.receivers import Receiver, status
from tests.store.places import check_keys, check_places
from tests.wait import wait_until

SHARDS = 2
FRIENDS = [f"friend-{number}" for number in range(40)]
WITH_SOCKET, ROUNDS, POSTS = 20, 5, 50
# Inboxes are full after the first round, and so are logs of attempts.
SETTINGS = {"shards": f"{SHARDS}", "inbox_max": "40", "inbox_keep": "20", "attempt_log_max": "20"}
RETRYING = {"retry_schedule_s": [0.1, 0.1]}
GROWTH_MAX_BYTES = 2 * 1024 * 1024
STORE_GROWTH_MAX = 1.15


@pytest.mark.timeout(120)
async def test_streams_keys_and_memory_come_back_to_their_level_after_load(tmp_path: Path):
    async with (
        OwnService(tmp_path, SETTINGS, gateways=1) as service,
        Receiver() as good,
        Receiver(default=status(500)) as bad,
        opened(service.store_url) as store,
        httpx.AsyncClient(
            base_url=service.api, headers={"authorization": f"Bearer {service.key}"}
        ) as http,
    ):
        await service.start("fanout", "fanout", "janitor")
        await service.start("sender", "sender")
        await _introduce(http, good.url, bad.url)
        async with _sockets(service) as frames:
            levels: list[Mapping[str, int]] = []
            for round_ in range(1, ROUNDS + 1):
                await _post(http)
                await wait_until(lambda n=round_: frames[0] == n * POSTS * WITH_SOCKET, 30)
                await _at_rest(store)
                good.requests.clear()
                bad.requests.clear()
                await _expire_what_has_an_end(store)
                levels.append(await _level(service, store))
        assert service.incidents == []
        places = await check_places(store, SHARDS)
        assert places == {}
        await check_keys(store)
    first, last = levels[1], levels[-1]
    grown = {name: last[name] - first[name] for name in first}
    assert grown.pop("used by the store") < (STORE_GROWTH_MAX - 1) * first["used by the store"]
    assert {name: by for name, by in grown.items() if by > GROWTH_MAX_BYTES} == {}


async def _introduce(http: httpx.AsyncClient, good: str, bad: str) -> None:
    for friend in FRIENDS:
        (await http.put(f"/v1/users/ann/friends/{friend}")).raise_for_status()
        for url, options in ((good, {}), (bad, RETRYING if friend in FRIENDS[:4] else None)):
            if options is not None:
                body = {"user": friend, "url": url, **options}
                (await http.post("/v1/endpoints", json=body)).raise_for_status()


async def _post(http: httpx.AsyncClient) -> None:
    body = {"author": "ann", "data": {"text": "x" * 200}}
    for _ in range(POSTS):
        (await http.post("/v1/posts", json=body)).raise_for_status()


async def _at_rest(store: Store) -> None:
    """Nothing is under way: what was acknowledged has left its stream, all retries are over."""

    async def is_over() -> bool:
        waiting = 0
        for shard in range(SHARDS):
            streams = keys.posts(shard), keys.deliveries(shard), keys.redeliveries(shard)
            for stream in streams:
                waiting += await store.execute("XLEN", stream)
            waiting += await store.execute("ZCARD", keys.retries(shard))
        return waiting == 0

    await wait_until(is_over, 30)


async def _expire_what_has_an_end(store: Store) -> None:
    """As if the retention were over, which is a minute at least."""
    [names] = await store.broadcast("KEYS", "*")
    ending = {b"post", b"roster", b"outcomes", b"tally", b"attempts", b"parked", b"idempotency"}
    for name in names:
        if name.partition(b":")[0] in ending:
            assert await store.execute("PTTL", name) > 0
            await store.execute("PEXPIRE", name, 1)
    for shard in range(SHARDS):
        await store.execute("DEL", keys.dead(shard))  # the janitor goes by the same time


async def _level(service: OwnService, store: Store) -> Mapping[str, int]:
    """Bytes: resident of each process, and what the store says that it uses."""
    [memory] = await store.broadcast("MEMORY", "STATS")
    used = dict(zip(memory[::2], memory[1::2], strict=True))[b"total.allocated"]
    return {"used by the store": used, **{n: _resident(p) for n, p in service.pids().items()}}


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"{pid} has no memory")


@contextlib.asynccontextmanager
async def _sockets(service: OwnService) -> AsyncIterator[list[int]]:
    """How many events have come to all sockets together."""
    frames = [0]
    assert service.token_secret is not None
    secret = service.token_secret

    async def listen(user: str) -> None:
        query = urlencode({"token": make_token(secret, user, ttl_s=600)})
        async with connect(
            f"{service.gateways[0]}/v1/socket?{query}",
            subprotocols=[Subprotocol("moments.v1.json")],
            proxy=None,
        ) as connection:
            with contextlib.suppress(ConnectionClosed):
                async for message in connection:
                    frames[0] += '"type":"post.created"' in str(message)

    listening = [asyncio.create_task(listen(user)) for user in FRIENDS[:WITH_SOCKET]]
    try:
        yield frames
    finally:
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
