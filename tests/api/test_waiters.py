"""Waiting for what comes, where the store misbehaves or several come and go at once."""

import asyncio
from collections.abc import Collection

from app.api.waiters import Waiters
from app.domain.post import Event, EventKind
from app.domain.shard import shard_of
from app.errors import StoreUnavailable
from app.store.nodes import OnPushes, Push
from tests.wait import wait_until

EVENT = Event("01k2v3w4x5y6z7a800", 1, EventKind.CREATED)


class FakeNode:
    """A node whose answers can be held back or made to fail."""

    id = "fake"

    def __init__(self) -> None:
        self.log: list[tuple[str, tuple[str, ...]]] = []
        self.failing = False
        self.leave_may_go_on = asyncio.Event()
        self.leave_may_go_on.set()
        self.runs = 0
        self.run_errors: list[Exception] = []
        self.on_pushes: OnPushes | None = None

    async def join(self, users: Collection[str]) -> None:
        self._check()
        self.log.append(("join", tuple(users)))

    async def leave(self, users: Collection[str]) -> None:
        self.log.append(("leaving", tuple(users)))
        await self.leave_may_go_on.wait()
        self._check()
        self.log.append(("left", tuple(users)))

    def _check(self) -> None:
        if self.failing:
            raise StoreUnavailable("away")

    async def run(self, on_pushes: OnPushes, stop: asyncio.Event) -> None:
        self.runs += 1
        self.on_pushes = on_pushes
        if self.run_errors:
            raise self.run_errors.pop()
        await stop.wait()

    async def close(self) -> None:
        self.log.append(("close", ()))

    def did(self, what: str) -> int:
        return sum(entry[0] == what for entry in self.log)


def make(node: FakeNode, waits_max: int = 10) -> Waiters:
    return Waiters(node, 8, waits_max=waits_max, sweep_s=0.01)  # type: ignore[arg-type]


async def test_a_user_joins_once_for_many_waits():
    node = FakeNode()
    waiters = make(node)
    async with waiters.wait("bob") as one, waiters.wait("bob") as two:
        await asyncio.gather(one.ready(), two.ready())
        await one.ready()
    assert node.log == [("join", ("bob",))]


async def test_what_comes_between_ready_and_waiting_is_not_missed():
    waiters = make(FakeNode())
    shard = shard_of("bob", 8)
    async with waiters.wait("bob") as wait:
        await wait.ready()
        await waiters._on_pushes([Push(shard, EVENT, (("bob", 1), ("cyd", 1)))])
        assert await wait.woken(30)


async def test_what_is_for_others_wakes_nobody():
    waiters = make(FakeNode())
    shard = shard_of("bob", 8)
    async with waiters.wait("bob") as wait:
        await wait.ready()
        await waiters._on_pushes(
            [Push(shard, EVENT, (("cyd", 1),)), Push((shard + 1) % 8, None, ())]
        )
        assert not await wait.woken(0.01)


async def test_what_is_pushed_once_more_wakes_nobody_and_nobody_has_to_join_again():
    node = FakeNode()
    waiters = make(node)
    shard = shard_of("bob", 8)
    async with waiters.wait("bob") as wait:
        await wait.ready()
        await waiters._on_pushes([Push(shard, None, (("bob", 1),))])
        assert not await wait.woken(0.01)
        await wait.ready()
    assert node.did("join") == 1


async def test_lost_pushes_wake_everybody_of_the_shard_and_let_them_join_again():
    node = FakeNode()
    waiters = make(node)
    async with waiters.wait("bob") as wait:
        await wait.ready()
        await waiters._on_pushes([Push(shard, None, ()) for shard in range(8)])
        assert await wait.woken(30)
        await wait.ready()
    assert node.did("join") == 2


async def test_who_comes_while_the_user_is_leaving_joins_afterwards():
    node = FakeNode()
    node.leave_may_go_on.clear()
    waiters = make(node)
    async with waiters.wait("bob") as wait:
        await wait.ready()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(waiters._sweep())
        await wait_until(lambda: node.did("leaving"))
        async with waiters.wait("bob") as wait:
            joining = tasks.create_task(wait.ready())
            await asyncio.sleep(0)
            assert not joining.done()
            node.leave_may_go_on.set()
            await joining
    assert [entry[0] for entry in node.log] == ["join", "leaving", "left", "join"]


async def test_leaving_that_fails_is_tried_again_and_nobody_is_taken_for_joined():
    node = FakeNode()
    waiters = make(node)
    async with waiters.wait("bob") as wait:
        await wait.ready()
    node.failing = True
    await waiters._sweep()
    node.failing = False
    async with waiters.wait("bob") as wait:
        await wait.ready()
    assert node.did("join") == 2
    await waiters._sweep()
    assert node.did("left") == 1
    await waiters._sweep()
    assert node.did("leaving") == 2  # nobody is left to leave


async def test_joining_that_fails_gives_the_place_free():
    node = FakeNode()
    node.failing = True
    waiters = make(node)
    failed = 0
    for _ in range(20):
        async with waiters.wait("bob") as wait:
            try:
                await wait.ready()
            except StoreUnavailable:
                failed += 1
    assert (failed, waiters.waiting) == (20, 0)


async def test_a_node_that_fails_is_seen_and_started_again(caplog):
    node = FakeNode()
    node.run_errors = [RuntimeError("a mistake"), StoreUnavailable("away")]
    waiters = make(node)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(waiters.run())
        await wait_until(lambda: node.runs == 3)
        waiters.release()
    assert "a mistake" in caplog.text
    assert node.log[-1] == ("close", ())


async def test_leaving_that_fails_at_the_end_keeps_nothing_from_ending(caplog):
    node = FakeNode()
    waiters = make(node)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(waiters.run())
        async with waiters.wait("bob") as wait:
            await wait.ready()
            node.failing = True
            waiters.release()
            assert await wait.woken(30)
    assert "store unavailable" in caplog.text


async def test_at_the_end_every_route_is_left():
    node = FakeNode()
    waiters = make(node)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(waiters.run())
        async with waiters.wait("bob") as bob, waiters.wait("cyd") as cyd:
            await bob.ready()
            await cyd.ready()
            waiters.release()
            assert await bob.woken(30)
    assert node.log[-2:] == [("left", ("bob", "cyd")), ("close", ())]
