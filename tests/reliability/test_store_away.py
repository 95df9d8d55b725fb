"""A store that cannot be reached, loses replies, or takes no more, in the middle of the work."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from app.store.client import Store
from tests.flows.service import Service, Socket, serve
from tests.opened_store import opened
from tests.receivers import Receiver, gated, status
from tests.store.proxy import Proxy, proxy_to
from tests.wait import wait_until

SETTINGS = {"lease_s": 2, "answer_timeout_s": 2}
POST = {"author": "alice", "data": {"text": "hello"}}


class Scene:
    """Alice, and bob with a webhook and a socket, on a store behind a proxy."""

    def __init__(self, service: Service, receiver: Receiver, socket: Socket, proxy: Proxy) -> None:
        self.service = service
        self.receiver = receiver
        self.socket = socket
        self.proxy = proxy

    async def ask(self, **headers: str) -> httpx.Response:
        return await self.service.http.post("/v1/posts", json=POST, headers=headers)

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """The store cannot be reached meanwhile; then it is there again."""
        await self.proxy.close()
        yield
        self.proxy.listener = await asyncio.start_server(
            self.proxy.serve, "127.0.0.1", self.proxy.port
        )

    async def is_back(self) -> str:
        """The id of a new post that was taken, once one is."""

        async def taken() -> str | None:
            answer = await self.ask()
            return answer.json()["id"] if answer.status_code == 202 else None

        return await wait_until(taken, 15)

    async def delivered(self, post: str) -> Any:
        return await self.service.settled(post, "bob", "delivered", timeout_s=15)


@pytest.fixture
async def scene(single_store: Store, single_store_url: str) -> AsyncIterator[Scene]:
    async with (
        proxy_to(urlsplit(single_store_url).path) as proxy,
        opened(proxy.url, connect_timeout_s=0.2) as store,
        serve(store, **SETTINGS) as service,
        Receiver() as receiver,
    ):
        await service.befriend(("alice", "bob"))
        await service.register("bob", receiver.url)
        async with service.socket("bob") as socket:
            yield Scene(service, receiver, socket, proxy)


async def test_nothing_is_taken_that_cannot_be_kept_and_all_goes_on_by_itself(scene: Scene):
    before = (await scene.service.post("alice"))["id"]
    assert (await scene.socket.next())["offset"] == 1
    await scene.delivered(before)
    async with scene.away():
        for _ in range(3):
            refused = await scene.ask()
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.json()["type"] == "urn:moments:problem:unavailable"
        assert await scene.socket.is_silent()
    after = await scene.is_back()
    frame = await scene.socket.next(15)
    assert (frame["offset"], frame["post"]["id"]) == (2, after)
    await scene.delivered(after)
    assert [one.json()["data"]["post"]["id"] for one in scene.receiver.requests] == [before, after]


async def test_what_was_answered_while_the_store_was_away_is_written_down_when_it_is_back(
    scene: Scene,
):
    gate = asyncio.Event()
    scene.receiver.default = gated(gate, status(200))
    posts = [(await scene.service.post("alice"))["id"] for _ in range(3)]
    await wait_until(lambda: len(scene.receiver.requests) == 3)
    async with scene.away():
        gate.set()
        assert (await scene.ask()).status_code == 503
    posts.append(await scene.is_back())
    for post in posts:
        found = await scene.delivered(post)
        assert found["attempts"] == 1
    assert len(scene.receiver.requests) == 4


async def test_a_retry_that_is_due_while_the_store_is_away_is_made_when_it_is_back(scene: Scene):
    scene.receiver.script.append(status(500))
    await scene.service.register("carol", scene.receiver.url, retry_schedule_s=[0.6])
    await scene.service.befriend(("dave", "carol"))
    post = await scene.service.post("dave")
    await scene.service.settled(post["id"], "carol", "retrying")
    async with scene.away():
        await asyncio.sleep(0.8)  # the time of the retry passes: that is what this is about
    await scene.is_back()
    found = await scene.service.settled(post["id"], "carol", "delivered", timeout_s=15)
    assert found["attempts"] == 2


async def test_a_post_whose_answer_was_lost_is_one_post_when_it_is_repeated_with_its_key(
    scene: Scene,
):
    async with scene.proxy.losing_replies():
        lost = asyncio.create_task(scene.ask(**{"Idempotency-Key": "once"}))
        await wait_until(lambda: b"posts:" in scene.proxy.passed)
        await asyncio.wait({lost}, timeout=0.2)

    async def repeated() -> Any:
        answer = await scene.ask(**{"Idempotency-Key": "once"})
        return answer if answer.status_code == 202 else None

    answer = await wait_until(repeated, 15)
    first = await lost
    assert first.status_code in (202, 503)
    await scene.delivered(answer.json()["id"])
    after = await scene.is_back()
    await scene.delivered(after)
    ids = [one.json()["data"]["post"]["id"] for one in scene.receiver.requests]
    assert sorted(set(ids)) == sorted({answer.json()["id"], after})
    offsets = [(await scene.socket.next(15))["offset"] for _ in range(2)]
    assert offsets == [1, 2]


async def test_every_post_that_was_taken_arrives_however_often_the_store_goes(scene: Scene):
    taken: list[str] = []
    stop = asyncio.Event()

    async def keep_posting() -> None:
        while not stop.is_set():
            answer = await scene.ask()
            if answer.status_code == 202:
                taken.append(answer.json()["id"])

    async with asyncio.TaskGroup() as tasks:
        posting = [tasks.create_task(keep_posting()) for _ in range(2)]
        for round_ in range(1, 4):
            await wait_until(partial(has_more, taken, len(taken) + 10), 15)
            if round_ % 2:
                scene.proxy.cut()
            else:
                async with scene.away():
                    await asyncio.sleep(0.05)
        stop.set()
        await asyncio.wait(posting)
    for post in taken:
        await scene.delivered(post)
    got = {one.json()["data"]["post"]["id"] for one in scene.receiver.requests}
    assert set(taken) <= got
    feed = await scene.service.call("GET", "/users/bob/feed?after=0&limit=200")
    seen = [item["post"]["id"] for item in feed["items"]]
    assert len(seen) == len(set(seen))
    assert set(taken) <= set(seen)
    frames = await scene.socket.take(len(seen))
    assert [frame["offset"] for frame in frames] == list(range(1, len(seen) + 1))
    assert [frame["post"]["id"] for frame in frames] == seen


def has_more(taken: list[str], count: int) -> bool:
    return len(taken) >= count


# Full


@asynccontextmanager
async def full(store: Store) -> AsyncIterator[None]:
    """It takes no more meanwhile."""
    await store.broadcast("CONFIG", "SET", "maxmemory", "1")
    try:
        yield
    finally:
        await store.broadcast("CONFIG", "SET", "maxmemory", "0")


async def test_a_full_store_takes_no_post_but_what_is_under_way_is_written_down(
    single_store: Store,
):
    gate = asyncio.Event()
    async with serve(single_store, lease_s=1) as service, Receiver() as receiver:
        receiver.default = gated(gate, status(200))
        await service.befriend(("alice", "bob"))
        await service.register("bob", receiver.url)
        async with service.socket("bob") as socket:
            post = await service.post("alice")
            await socket.next()
            await wait_until(lambda: receiver.requests)
            async with full(single_store):
                refused = await service.http.post("/v1/posts", json=POST)
                assert refused.status_code == 503
                assert refused.json()["type"] == "urn:moments:problem:store-full"
                assert int(refused.headers["retry-after"]) >= 1
                gate.set()
                found = await service.settled(post["id"], "bob", "delivered")
                assert found["attempts"] == 1
                # Longer than a lease lives: what is held is kept, and nothing is lost by it.
                assert await socket.is_silent(1.2)
                assert (await service.http.post("/v1/posts", json=POST)).status_code == 503
            later = await service.post("alice")
            frame = await socket.next(15)
            assert (frame["offset"], frame["post"]["id"]) == (2, later["id"])
            await service.settled(later["id"], "bob", "delivered", timeout_s=15)
            assert len(receiver.requests) == 2


async def test_posts_that_were_taken_before_it_was_full_are_fanned_out_once_there_is_room(
    single_store: Store,
):
    async with serve(single_store, lease_s=1, slice_max=1) as service, Receiver() as receiver:
        friends = [f"friend-{number}" for number in range(30)]
        await service.befriend(*[("alice", friend) for friend in friends])
        for friend in friends[:5]:
            await service.register(friend, receiver.url)
        post = await service.post("alice")
        async with full(single_store):
            await asyncio.sleep(0.3)
            progress = await service.deliveries(post["id"])

        async def is_done() -> bool:
            counts = (await service.deliveries(post["id"]))["counts"]
            return (counts["delivered"], counts["pending"]) == (5, 30)

        await wait_until(is_done, 15)
        assert not progress["fanned_out"]
        assert len(receiver.requests) == 5
        for friend in friends:
            feed = await service.call("GET", f"/users/{friend}/feed")
            assert feed["head_offset"] == 1
