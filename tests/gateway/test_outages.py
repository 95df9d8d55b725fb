"""What a gateway makes of a store that goes away, comes back, answers late or loses entries."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit

import pytest

from app.domain.close_codes import CloseCode
from app.domain.shard import shard_of
from app.gateway.limits import Limits
from app.store import keys
from app.store.client import Store
from tests.gateway.gate import AT_ONCE, SHARDS
from tests.gateway.world import NODE, World, world_on
from tests.opened_store import opened
from tests.store.proxy import Proxy, proxy_to
from tests.wait import wait_until


class Line:
    """The way from a gateway to its store, which can be cut and put up again."""

    def __init__(self, stack: AsyncExitStack, target: str) -> None:
        self._stack = stack
        self._target = target
        self.proxy: Proxy | None = None
        self.port = 0

    async def up(self) -> None:
        self.proxy = await self._stack.enter_async_context(proxy_to(self._target, port=self.port))
        self.port = self.proxy.port

    async def down(self) -> None:
        assert self.proxy is not None
        await self.proxy.close()


@asynccontextmanager
async def world_behind_line(
    store: Store, url: str, *, limits: Limits = AT_ONCE
) -> AsyncIterator[tuple[World, Line]]:
    async with AsyncExitStack() as stack:
        line = Line(stack, urlsplit(url).path)
        await line.up()
        assert line.proxy is not None
        own = await stack.enter_async_context(opened(line.proxy.url, answer_timeout_s=0.5))
        world = await stack.enter_async_context(world_on(own, around=store, limits=limits))
        yield world, line


@pytest.fixture
async def behind(single_store: Store, single_store_url: str) -> AsyncIterator[tuple[World, Line]]:
    async with world_behind_line(single_store, single_store_url) as both:
        yield both


async def test_what_is_posted_while_the_store_is_away_comes_when_it_is_back(
    behind: tuple[World, Line], caplog: pytest.LogCaptureFixture
):
    world, line = behind
    async with world.gate.greeted("bob") as bob, world.gate.greeted("eve") as eve:
        await world.publish("bob", "eve")
        assert await bob.offsets(1) == await eve.offsets(1) == [1]
        await line.down()
        for _ in range(5):
            await world.publish("bob", "eve")
        await wait_until(lambda: "sockets" in [getattr(r, "reader", "") for r in caplog.records])
        await line.up()
        assert await bob.offsets(5) == await eve.offsets(5) == [2, 3, 4, 5, 6]
        await world.publish("bob", "eve")
        assert await bob.offsets(1) == await eve.offsets(1) == [7]
        assert world.gate.stats.sockets_closed == {}


async def test_what_is_acknowledged_while_the_store_is_away_is_written_when_it_is_back(
    behind: tuple[World, Line],
):
    world, line = behind
    async with world.gate.greeted("bob", ack="explicit") as bob:
        await world.publish("bob")
        await bob.next()
        await line.down()
        await bob.ack(1)
        await wait_until(lambda: world.gate.stats.store_failures)
        assert await world.cursor("bob") == 0
        await line.up()
        await wait_until(lambda: world.has_cursor("bob", 1))


async def test_a_client_that_comes_while_the_store_is_away_is_greeted_when_it_is_back(
    behind: tuple[World, Line],
):
    world, line = behind
    await world.publish("bob")
    async with world.gate.greeted("eve"):
        await line.down()
        async with world.gate.socket("bob") as bob, world.gate.socket("eve") as eve:
            await wait_until(lambda: world.gate.stats.store_failures >= 2)
            await line.up()
            assert (await bob.next())["head"] == 1
            assert await bob.offsets(1) == [1]
            assert (await eve.next())["head"] == 0


async def test_routes_that_could_not_be_given_back_are_when_the_store_is_back(
    behind: tuple[World, Line],
):
    world, line = behind
    async with world.gate.greeted("bob"):
        await line.down()
    await wait_until(lambda: world.gate.stats.store_failures)
    assert await world.route("bob") == f"@{NODE}".encode()
    await line.up()
    await wait_until(lambda: is_gone(world, "bob"))


async def is_gone(world: World, user: str) -> bool:
    return await world.route(user) is None


async def test_a_gateway_may_be_started_before_its_store(
    single_store: Store, single_store_url: str
):
    async with AsyncExitStack() as stack:
        line = Line(stack, urlsplit(single_store_url).path)
        await line.up()
        assert line.proxy is not None
        own = await stack.enter_async_context(opened(line.proxy.url, answer_timeout_s=0.5))
        await line.down()
        world = await stack.enter_async_context(world_on(own, around=single_store))
        async with world.gate.socket("bob") as bob:
            await wait_until(lambda: world.gate.stats.store_failures)
            assert not world.gate.has_ended.is_set()
            await line.up()
            assert (await bob.next())["type"] == "hello"
            await world.publish("bob")
            assert await bob.offsets(1) == [1]
            assert await single_store.execute("ZSCORE", keys.NODES, NODE)


async def test_a_gateway_ends_in_time_though_the_store_is_away(
    single_store: Store, single_store_url: str
):
    limits = Limits(goodbye_spread_s=0, drain_timeout_s=0.5)
    async with world_behind_line(single_store, single_store_url, limits=limits) as (world, line):
        async with world.gate.greeted("bob", ack="explicit") as bob:
            await world.publish("bob")
            await bob.next()
            await line.down()
            await bob.ack(1)
            await wait_until(lambda: world.gate.stats.acks)
            world.gate.stop.set()
            assert (await bob.next())["type"] == "goodbye"
            assert await bob.closed() == CloseCode.GOING_AWAY
        async with asyncio.timeout(5):
            await world.gate.has_ended.wait()


async def test_answers_that_are_lost_lose_nothing(behind: tuple[World, Line]):
    world, line = behind
    async with world.gate.greeted("bob", ack="explicit") as bob:
        assert line.proxy is not None
        async with line.proxy.losing_replies():
            for _ in range(3):
                await world.publish("bob")
            async with world.gate.socket("eve"):
                await wait_until(lambda: world.gate.stats.store_failures)
        assert await bob.offsets(3) == [1, 2, 3]
        await bob.ack(3)
        await wait_until(lambda: world.has_cursor("bob", 3))
        async with world.gate.greeted("eve") as eve:
            await world.publish("eve")
            assert await eve.offsets(1) == [1]


async def test_a_mark_of_overflow_lets_everybody_of_the_shard_go_on_from_their_inbox(
    store: Store,
):
    async with (
        world_on(store) as world,
        world.gate.greeted("bob") as bob,
        world.gate.greeted("eve") as eve,
    ):
        for user in ("bob", "eve"):
            await store.execute("HDEL", keys.routes(shard_of(user, SHARDS)), user)
        for _ in range(4):
            await world.publish("bob", "eve")
        shards = {shard_of(user, SHARDS) for user in ("bob", "eve")}
        for shard in shards:
            await store.execute("XADD", keys.sockets(shard, NODE), "*", "o", "1")
        assert await bob.offsets(4) == await eve.offsets(4) == [1, 2, 3, 4]
        assert world.gate.stats.overflows == len(shards)
        await world.publish("bob", "eve")
        assert await bob.offsets(1) == await eve.offsets(1) == [5]


async def test_a_stream_that_grew_too_long_loses_nothing(store: Store):
    async with world_on(store) as world, world.gate.greeted("bob") as bob:
        for _ in range(30):
            await world.publish("bob", inbox_max=1_000, sockets_max=1)
        assert await bob.offsets(30) == list(range(1, 31))


async def test_a_post_whose_body_is_gone_still_has_its_place(store: Store):
    async with world_on(store) as world, world.gate.greeted("bob") as bob:
        post = await world.post()
        await store.execute("DEL", keys.post(shard_of("ann", SHARDS), post.id))
        await world.fan_out_created(post, "bob")
        assert await bob.next() == {
            "type": "post.created",
            "offset": 1,
            "post": {"id": post.id, "expired": True},
        }


async def test_sockets_that_come_and_go_on_a_bad_line_see_every_offset_in_its_order(
    behind: tuple[World, Line],
):
    """Cuts, drops and resumes at random while posts keep coming."""
    world, line = behind
    chance = random.Random(4)
    count, users = 60, [f"user{number}" for number in range(6)]

    async def follow(user: str) -> list[int]:
        heard: list[int] = []
        while len(heard) < count:
            async with world.gate.socket(user, after=len(heard)) as socket:
                assert (await socket.next())["type"] == "hello"
                patience = chance.randint(1, 25)
                while len(heard) < count and patience:
                    patience -= 1
                    heard += await socket.offsets(1)
        return heard

    async def disturb() -> None:
        assert line.proxy is not None
        for _ in range(6):
            await asyncio.sleep(chance.uniform(0.02, 0.1))
            line.proxy.cut()

    async with asyncio.TaskGroup() as tasks:
        followers = [tasks.create_task(follow(user)) for user in users]
        tasks.create_task(disturb())
        for _ in range(count):
            await world.publish(*users, inbox_max=1_000)
            await asyncio.sleep(0.005)
    for follower in followers:
        assert follower.result() == list(range(1, count + 1))
