import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress

from hypothesis import given, settings
from hypothesis.strategies import lists, sampled_from, tuples

from app.errors import StoreUnavailable
from app.gateway.routes import USERS_MAX, Routes
from app.gateway.stats import Stats
from tests.wait import wait_until


class Node:
    """Whose routes name this node; fails as long as it is told to, before or after the deed."""

    def __init__(self) -> None:
        self.named: set[str] = set()
        self.calls: list[tuple[str, tuple[str, ...]]] = []
        self.fails = ""
        self.gate: asyncio.Event | None = None

    async def join(self, users: Collection[str]) -> None:
        await self._do("join", users, self.named.update)

    async def leave(self, users: Collection[str]) -> None:
        await self._do("leave", users, self.named.difference_update)

    async def _do(self, what, users, deed) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.fails == "before":
            raise StoreUnavailable("away")
        self.calls.append((what, tuple(users)))
        deed(users)
        if self.fails == "after":
            raise StoreUnavailable("the answer was lost")


class Here:
    """Routes, and who has a socket here."""

    def __init__(self) -> None:
        self.node, self.stats = Node(), Stats()
        self.users: set[str] = set()
        self.told: list[str] = []
        self.routes = Routes(
            self.node,
            self.stats,
            is_here=lambda user: user in self.users,
            joined=self.told.append,
        )

    def come(self, user: str) -> None:
        if user not in self.users:
            self.users.add(user)
            if not self.routes.is_joined(user):
                self.routes.changed(user)

    def go(self, user: str) -> None:
        if user in self.users:
            self.users.discard(user)
            self.routes.changed(user)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.routes.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_a_user_who_comes_is_told_once_their_route_names_this_node():
    here = Here()
    async with here.running():
        here.come("bob")
        await wait_until(lambda: here.told == ["bob"])
        assert here.routes.is_joined("bob")
        assert here.node.named == {"bob"}
        here.go("bob")
        await wait_until(lambda: not here.node.named)
        assert not here.routes.is_joined("bob")


async def test_many_changes_are_written_in_calls_of_a_bound():
    here = Here()
    for number in range(USERS_MAX + 5):
        here.come(f"user{number}")
    await here.routes.settle()
    assert [(what, len(users)) for what, users in here.node.calls] == [
        ("join", USERS_MAX),
        ("join", 5),
    ]


async def test_whoever_comes_back_before_it_was_written_costs_nothing():
    here = Here()
    here.come("bob")
    await here.routes.settle()
    here.go("bob")
    here.come("bob")
    await here.routes.settle()
    assert here.node.calls == [("join", ("bob",))]
    assert here.routes.is_joined("bob")


async def test_who_came_and_went_unseen_is_forgotten():
    here = Here()
    here.come("bob")
    here.go("bob")
    assert not here.routes._changed
    await here.routes.settle()
    assert here.node.calls == []


async def test_who_comes_back_while_they_are_taken_out_is_put_in_again():
    here = Here()
    here.come("bob")
    await here.routes.settle()
    here.node.gate = asyncio.Event()
    async with here.running():
        here.go("bob")
        await wait_until(lambda: not here.routes.is_joined("bob"))
        here.come("bob")
        here.node.gate.set()
        await wait_until(lambda: len(here.told) == 2)
    assert here.node.named == {"bob"}
    assert here.routes.is_joined("bob")


async def test_who_leaves_while_they_are_put_in_is_taken_out_again_and_not_told():
    here = Here()
    here.node.gate = asyncio.Event()
    async with here.running():
        here.come("bob")
        await wait_until(lambda: not here.routes._changed)
        here.go("bob")
        here.node.gate.set()
        await wait_until(lambda: len(here.node.calls) == 2)
    assert here.node.named == set()
    assert here.told == []


async def test_routes_that_may_be_lost_are_written_again_and_their_users_told():
    here = Here()
    here.come("bob")
    await here.routes.settle()
    here.node.named.clear()
    here.routes.rejoin(["bob"])
    assert not here.routes.is_joined("bob")
    await here.routes.settle()
    assert here.node.named == {"bob"}
    assert here.told == ["bob", "bob"]


async def test_a_store_that_is_away_is_waited_for():
    here = Here()
    here.node.fails = "before"
    async with here.running():
        here.come("bob")
        await wait_until(lambda: here.stats.store_failures)
        assert here.told == []
        here.node.fails = ""
        await wait_until(lambda: here.told == ["bob"])


STEPS = lists(
    tuples(sampled_from(["come", "go", "rejoin", "settle", "before", "after"]), sampled_from("abc"))
)


@settings(deadline=None)
@given(STEPS)
def test_in_the_end_routes_name_exactly_those_who_are_here(steps: list[tuple[str, str]]):
    here = Here()

    async def settle(fails: str) -> None:
        here.node.fails = fails
        with suppress(StoreUnavailable):
            await here.routes.settle()

    async def go() -> None:
        for step, user in steps:
            match step:
                case "come":
                    here.come(user)
                case "go":
                    here.go(user)
                case "rejoin":
                    here.routes.rejoin([user])
                case "settle":
                    await settle("")
                case fails:
                    await settle(fails)
            assert all(user in here.node.named for user in "abc" if here.routes.is_joined(user))
        await settle("")
        assert here.node.named == here.users
        assert {user for user in "abc" if here.routes.is_joined(user)} == here.users

    asyncio.run(go())
