"""Sockets go on where they stopped, or are told exactly what is gone."""

import asyncio

from tests.flows.service import Service, serve
from tests.wait import wait_until


async def test_whoever_was_away_gets_what_was_missed_in_order(service: Service):
    await service.befriend(("alice", "bob"))
    async with service.socket("bob") as socket:
        await service.post("alice")
        assert (await socket.next())["offset"] == 1
    posts = [await service.post("alice") for _ in range(5)]
    await service.settled(posts[-1]["id"], "bob", "pending", "socket")
    async with service.socket("bob", after=1, epoch=socket.hello["epoch"]) as socket:
        assert socket.hello["head"] == 6
        frames = await socket.take(5)
        live = await service.post("alice")
        frames += await socket.take(1)
    assert [frame["offset"] for frame in frames] == [2, 3, 4, 5, 6, 7]
    assert [frame["post"]["id"] for frame in frames] == [p["id"] for p in (*posts, live)]


async def test_without_an_offset_it_goes_on_from_the_acknowledged_cursor(service: Service):
    await service.befriend(("alice", "bob"))
    async with service.socket("bob", ack="explicit") as socket:
        for _ in range(3):
            await service.post("alice")
        await socket.take(3)
        await socket.ack(2)

        async def is_acknowledged() -> bool:
            return (await service.call("GET", "/users/bob/feed"))["cursor"] == 2

        await wait_until(is_acknowledged)
    async with service.socket("bob", ack="explicit") as socket:
        assert socket.hello["cursor"] == 2
        assert (await socket.next())["offset"] == 3
        assert await socket.is_silent()


async def test_what_is_not_acknowledged_is_pushed_again(store):
    async with serve(store, ack_timeout_s=0.2) as service:
        await service.befriend(("alice", "bob"))
        async with service.socket("bob", ack="explicit") as socket:
            post = await service.post("alice")
            first, second = await socket.take(2)
            assert first == second
            await socket.ack(1)
            await service.settled(post["id"], "bob", "delivered", "socket")


async def test_offsets_that_are_gone_are_named(store):
    async with serve(store, inbox_max=10, inbox_keep=5) as service:
        await service.befriend(("alice", "bob"))
        for number in range(12):
            post = await service.post("alice", data={"n": number})
        await service.settled(post["id"], "bob", "pending", "socket")
        async with service.socket("bob", after=2) as socket:
            gap = await socket.next()
            assert (gap["type"], gap["from"]) == ("gap", 3)
            frames = await socket.take(12 - gap["to"])
        assert [frame["offset"] for frame in frames] == list(range(gap["to"] + 1, 13))
        feed = await service.call("GET", "/users/bob/feed?after=2")
        assert feed["gap"] == {"from": 3, "to": gap["to"]}


async def test_another_epoch_starts_over(service: Service):
    await service.befriend(("alice", "bob"))
    post = await service.post("alice")
    await service.settled(post["id"], "bob", "pending", "socket")
    async with service.socket("bob", after=7, epoch="another") as socket:
        reset = await socket.next()
        assert reset == {"type": "reset", "epoch": socket.hello["epoch"]}
        assert (await socket.next())["offset"] == 1


async def test_a_long_poll_answers_as_soon_as_something_comes(service: Service):
    await service.befriend(("alice", "bob"))
    poll = asyncio.ensure_future(service.call("GET", "/users/bob/feed?after=0&wait_s=20"))
    done, _ = await asyncio.wait({poll}, timeout=0.3)
    assert not done
    post = await service.post("alice")
    async with asyncio.timeout(5):
        feed = await poll
    assert [item["post"]["id"] for item in feed["items"]] == [post["id"]]


async def test_a_socket_delivery_can_be_pushed_again(service: Service):
    await service.befriend(("alice", "bob"))
    async with service.socket("bob") as socket:
        post = await service.post("alice")
        frame = await socket.next()
        delivery = await service.settled(post["id"], "bob", "delivered", "socket")
        await service.call("POST", f"/deliveries/{delivery['id']}:retry")
        assert await socket.next() == frame
