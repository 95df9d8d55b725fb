"""A store that is emptied, or replaced by an empty one, while everything runs."""

import asyncio
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from app.store import epoch, keys
from app.store.client import Store
from app.store.embedded import EmbeddedServer
from app.store.schema import read_schema
from tests.flows.service import Service, serve
from tests.opened_store import opened
from tests.receivers import Receiver
from tests.wait import wait_until

SETTINGS = {"lease_s": 1}


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch, "LOOK_S", 0.05)


async def test_sockets_are_reset_and_go_on_and_all_else_begins_anew(single_store: Store):
    async with serve(single_store, **SETTINGS) as service, Receiver() as receiver:
        await service.befriend(("alice", "bob"))
        async with service.socket("bob") as auto, service.socket("bob", ack="explicit") as explicit:
            before = auto.hello["epoch"]
            for _ in range(3):
                await service.post("alice")
            for socket in (auto, explicit):
                await socket.take(3)
            await single_store.broadcast("FLUSHALL")
            resets = [await socket.next() for socket in (auto, explicit)]
            assert [one["type"] for one in resets] == ["reset", "reset"]
            after = resets[0]["epoch"]
            assert after != before
            assert resets[1]["epoch"] == after

            # The admin key is there again; friends and endpoints are their owner's to make again.
            await service.befriend(("alice", "bob"))
            await service.register("bob", receiver.url)
            await explicit.ack(3)  # sent before it had read that its log is gone
            posts = [await service.post("alice") for _ in range(2)]
            for socket in (auto, explicit):
                frames = await socket.take(2)
                assert [frame["offset"] for frame in frames] == [1, 2]
                assert [frame["post"]["id"] for frame in frames] == [p["id"] for p in posts]
            await service.settled(posts[1]["id"], "bob", "delivered")
            feed = await service.call("GET", "/users/bob/feed?after=0")
            assert (feed["epoch"], feed["head_offset"]) == (after, 2)
            await explicit.ack(1)
        async with service.socket("bob", after=3, epoch=before) as late:
            assert late.hello["epoch"] == after
            assert (await late.next())["type"] == "reset"
            assert [frame["offset"] for frame in await late.take(2)] == [1, 2]


async def test_posts_under_way_when_it_is_emptied_leave_nothing_that_spins(single_store: Store):
    async with serve(single_store, **SETTINGS) as service, Receiver() as receiver:
        await service.befriend(*[("alice", f"friend-{n}") for n in range(20)])
        await service.register("friend-0", receiver.url)
        posting = [
            asyncio.create_task(service.http.post("/v1/posts", json=POST)) for _ in range(40)
        ]
        await wait_until(lambda: receiver.requests)
        before = (await read_schema(single_store, None)).epoch
        await single_store.broadcast("FLUSHALL")
        await begun_anew(single_store, before)
        await asyncio.gather(*posting)
        await works(service, receiver)
        await is_quiet(single_store)


POST = {"author": "alice", "data": {"text": "hello"}}


async def works(service: Service, receiver: Receiver) -> None:
    """A new post gets through, once the workers have their leases again."""
    await service.befriend(("ann", "ben"))
    await service.register("ben", receiver.url)
    post = await service.post("ann")
    await service.settled(post["id"], "ben", "delivered", timeout_s=15)


async def is_quiet(store: Store) -> None:
    """With nothing to do, all processes together ask for little."""
    looks = 0

    async def is_little() -> bool:
        nonlocal looks
        looks += 1
        before, began = await commands(store), time.monotonic()
        await asyncio.sleep(0.5)
        return (await commands(store) - before) / (time.monotonic() - began) < COMMANDS_PER_S

    await wait_until(is_little, 8)


# Three roles of eight shards with leases of a second, their watchers, beats and looks at the epoch.
COMMANDS_PER_S = 400


async def commands(store: Store) -> int:
    (info,) = await store.broadcast("INFO", "stats")
    fields = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    return int(fields["total_commands_processed"])


async def test_a_long_poll_comes_to_its_end_and_the_next_one_hears_of_what_is_new(
    single_store: Store,
):
    async with serve(single_store, **SETTINGS) as service:
        await service.befriend(("alice", "bob"))
        poll = asyncio.create_task(service.call("GET", "/users/bob/feed?after=0&wait_s=20"))
        done, _ = await asyncio.wait({poll}, timeout=0.3)
        assert not done
        before = (await read_schema(single_store, None)).epoch
        await single_store.broadcast("FLUSHALL")
        await begun_anew(single_store, before)
        await service.befriend(("alice", "bob"))
        post = await service.post("alice")
        async with asyncio.timeout(10):
            feed = await poll
        assert [item["post"]["id"] for item in feed["items"]] == [post["id"]]
        assert feed["epoch"] != before


async def begun_anew(store: Store, before: str) -> None:
    async def is_anew() -> bool:
        meta = await read_schema(store, None)
        return meta is not None and meta.epoch != before and await has_key(store)

    await wait_until(is_anew)


async def has_key(store: Store) -> bool:
    return await store.execute("HLEN", keys.API_KEYS) == 1


async def test_a_server_that_comes_back_with_its_data_is_the_same_and_one_without_is_not(
    tmp_path: Path,
):
    server = EmbeddedServer(tmp_path)
    server.start()
    try:
        async with (
            opened(server.url, connect_timeout_s=0.2) as store,
            serve(store, **SETTINGS) as service,
            Receiver() as receiver,
            service_socket(service) as socket,
        ):
            await service.register("bob", receiver.url)
            await service.post("alice")
            assert (await socket.next())["offset"] == 1
            await asyncio.to_thread(restart, server)
            await until_answered(service)
            post = await service.post("alice")
            assert (await socket.next())["offset"] == 2
            await service.settled(post["id"], "bob", "delivered", timeout_s=15)

            await asyncio.to_thread(restart, server, emptied=True)
            reset = await socket.next(15)
            await begun_anew(store, socket.hello["epoch"])
            assert (reset["type"], reset["epoch"] != socket.hello["epoch"]) == ("reset", True)
            await works(service, receiver)
            await is_quiet(store)
    finally:
        server.stop()


async def until_answered(service: Service) -> None:
    async def is_back() -> bool:
        return (await service.http.get("/v1/users/bob/feed")).is_success

    await wait_until(is_back, 15)


class service_socket:
    """A socket of bob, friend of alice."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __aenter__(self) -> Any:
        await self._service.befriend(("alice", "bob"))
        self._socket = self._service.socket("bob")
        return await self._socket.__aenter__()

    async def __aexit__(self, *error: object) -> None:
        await self._socket.__aexit__(*error)


def restart(server: EmbeddedServer, *, emptied: bool = False) -> None:
    server.stop()
    if emptied:
        shutil.rmtree(server.directory / "appendonlydir")
    server.start()
