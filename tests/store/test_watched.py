"""A watched post: what is told, put together, is always what the ledger says."""

from dataclasses import dataclass, field

import pytest

from app.domain.delivery import State
from app.domain.ids import shard_of_id
from app.domain.post import Event, EventKind
from app.errors import ConnectionLost, PostNotFound
from app.store import keys
from app.store.client import Store
from app.store.watched import Change, WatchedPost
from tests.store.service import (
    NOW_MS,
    SHARDS,
    Result,
    Sender,
    Service,
    fan_out,
    finish,
    users_of,
)

USERS = [user for shard in range(SHARDS) for user in users_of(shard, 3)]


@dataclass
class View:
    """What somebody has who takes every change, as the page does."""

    users: list[str] = field(default_factory=list)
    places: list[tuple[int, int, int]] = field(default_factory=list)
    webhooks: list[tuple[str, str]] = field(default_factory=list)  # recipient, endpoint
    states: list[str] = field(default_factory=list)
    attempts: list[int] = field(default_factory=list)
    passed: set[int] = field(default_factory=set)
    fanned_out: bool = False

    def take(self, change: Change) -> "View":
        if change.whole:
            self.__init__()
        fields = change.as_fields()
        self.fanned_out = fields["fanned_out"]
        self.users += fields["users"]
        self.places += fields["places"]
        for recipient, endpoint in zip(fields["recipients"], fields["endpoints"], strict=True):
            self.webhooks.append((self.users[recipient], endpoint))
            self.states.append("p")
            self.attempts.append(0)
        for row, state, attempts in zip(
            fields["rows"], fields["states"], fields["attempts"], strict=True
        ):
            self.states[row], self.attempts[row] = state, attempts
        self.passed |= set(fields["passed"])
        return self

    def state_of(self, endpoint: str) -> tuple[str, int]:
        row = [found for _, found in self.webhooks].index(endpoint)
        return self.states[row], self.attempts[row]


@dataclass
class Watching:
    """A post with one endpoint for the first user of each shard, and somebody who watches it."""

    service: Service
    event: Event
    endpoints: list[str]
    post: WatchedPost
    view: View
    batches: int = 0

    async def look(self, *, thorough: bool = False) -> Change:
        change = await self.post.look(thorough=thorough)
        self.view.take(change)
        return change

    async def record(self, number: int, state: State, attempts: int = 1) -> None:
        """What became of the delivery to an endpoint."""
        sender = await Sender(self.service.store, number).take()
        self.batches = sender.batches = self.batches + 1  # each has an id of its own
        id_ = f"{self.event.post}-{self.event.version}-0-{self.endpoints[number]}"
        await sender.record([Result(id_, state, attempts, due_ms=NOW_MS)])


@pytest.fixture
async def watching(store: Store) -> Watching:
    service = Service.on(store)
    endpoints = [(await service.endpoint(users_of(shard, 1)[0])).id for shard in range(SHARDS)]
    event = await service.post()
    await fan_out(store, event, USERS)
    await finish(store, event, 1)
    return Watching(
        service, event, endpoints, WatchedPost(store, SHARDS, service.posts, event.post), View()
    )


async def test_the_first_look_tells_everything(watching: Watching):
    change = await watching.look()
    view = watching.view
    assert change.whole
    assert sorted(view.users) == sorted(USERS)
    assert view.fanned_out
    assert sorted(view.webhooks) == sorted(
        (users_of(shard, 1)[0], endpoint) for shard, endpoint in enumerate(watching.endpoints)
    )
    assert set(view.states) == {"p"}
    assert view.passed == set()


async def test_the_ids_of_deliveries_follow_from_the_places(watching: Watching):
    await watching.look()
    page = await watching.service.ledger.of_post(
        watching.event.post, state=None, channel="socket", after=None, limit=200
    )
    assert page is not None
    recipients = {item.id: item.recipient for item in page.items}
    numbered = [
        f"{watching.event.post}-1-{slice_}-{shard}-{index}"
        for slice_, shard, size in watching.view.places
        for index in range(size)
    ]
    assert recipients == dict(zip(numbered, watching.view.users, strict=True))


async def test_a_look_tells_what_changed_and_nothing_else(watching: Watching):
    await watching.look()
    assert (await watching.look()).is_empty
    await watching.record(1, State.DELIVERED)
    await watching.record(2, State.DEAD, attempts=3)
    change = await watching.look()
    assert len(change.rows) == 2
    assert watching.view.state_of(watching.endpoints[1]) == ("d", 1)
    assert watching.view.state_of(watching.endpoints[2]) == ("x", 3)
    assert (await watching.look()).is_empty


async def test_who_gets_it_over_a_socket_is_told_once(watching: Watching):
    await watching.look()
    await watching.service.inbox.advance({USERS[0]: 1, USERS[5]: 1, "stranger": 9})
    await watching.look()
    assert {watching.view.users[number] for number in watching.view.passed} == {USERS[0], USERS[5]}
    assert (await watching.look()).is_empty


async def test_whoever_comes_later_is_told_all_that_is_known(watching: Watching):
    await watching.look()
    await watching.record(1, State.DELIVERED)
    await watching.record(2, State.RETRYING, attempts=2)
    await watching.service.inbox.advance({USERS[3]: 1})
    await watching.look()
    late = View().take(watching.post.whole())
    assert late == watching.view
    assert late.state_of(watching.endpoints[2]) == ("r", 2)


async def test_another_failure_of_what_is_retried_shows_at_a_thorough_look(watching: Watching):
    await watching.look()
    await watching.record(0, State.RETRYING, attempts=1)
    await watching.look()
    await watching.record(0, State.RETRYING, attempts=2)
    assert (await watching.look()).is_empty  # the tally is as it was
    await watching.look(thorough=True)
    assert watching.view.state_of(watching.endpoints[0]) == ("r", 2)


async def test_it_is_settled_when_all_is_final_and_not_any_more_after_a_retry(watching: Watching):
    await watching.look()
    assert not watching.post.is_settled
    for number in range(SHARDS):
        await watching.record(number, State.DELIVERED)
    await watching.look()
    assert not watching.post.is_settled
    await watching.service.inbox.advance(dict.fromkeys(USERS, 1))
    await watching.look()
    assert watching.post.is_settled
    again = f"{watching.event.post}-1-0-{watching.endpoints[3]}"
    assert await watching.service.ledger.retry(again, NOW_MS)
    await watching.look()
    assert not watching.post.is_settled
    assert watching.view.state_of(watching.endpoints[3])[0] == "r"


async def test_a_settled_post_costs_its_progress_and_its_tallies(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
):
    await watching.look()
    for number in range(SHARDS):
        await watching.record(number, State.DELIVERED)
    await watching.service.inbox.advance(dict.fromkeys(USERS, 1))
    await watching.look()
    asked: list[bytes] = []
    run_many = watching.service.store.run_many

    async def counted(commands):
        named = list(commands)
        asked.extend(command[1].partition(b":")[0] for command in named)
        return await run_many(named)

    monkeypatch.setattr(watching.service.store, "run_many", counted)
    await watching.look()
    assert asked == [b"tally"] * SHARDS


async def test_a_look_that_fails_halfway_loses_nothing(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
):
    await watching.look()
    await watching.record(1, State.DELIVERED)
    run_many = watching.service.store.run_many

    async def without_outcomes(commands):
        named = list(commands)
        if any(command[1].startswith(b"outcomes") for command in named):
            raise ConnectionLost("as the test wants it")
        return await run_many(named)

    monkeypatch.setattr(watching.service.store, "run_many", without_outcomes)
    with pytest.raises(ConnectionLost):
        await watching.look()
    monkeypatch.undo()
    await watching.look()
    assert watching.view.state_of(watching.endpoints[1]) == ("d", 1)


async def test_slices_come_while_it_is_fanned_out(store: Store):
    service = Service.on(store)
    event = await service.post()
    key = keys.post(shard_of_id(event.post), event.post)
    post, view = WatchedPost(store, SHARDS, service.posts, event.post), View()
    view.take(await post.look())
    assert (view.users, view.fanned_out, post.is_settled) == ([], False, False)
    await store.execute("HSET", key, "fanned:1", "0  ")
    await fan_out(store, event, USERS[:5], slice_=0)
    view.take(await post.look())
    assert sorted(view.users) == sorted(USERS[:5])
    await store.execute("HSET", key, "fanned:1", "1  ")
    await fan_out(store, event, USERS[5:], slice_=1)
    await finish(store, event, 2)
    change = await post.look()
    assert not change.whole
    assert sorted(view.take(change).users) == sorted(USERS)
    assert view.fanned_out
    assert (await post.look()).is_empty


async def test_an_edit_begins_anew_with_its_own_deliveries(watching: Watching):
    await watching.look()
    await watching.record(1, State.DELIVERED)
    await watching.look()
    store, post = watching.service.store, watching.event.post
    await watching.service.posts.edit(post, b"{}", NOW_MS)
    edited = Event(post, 2, EventKind.UPDATED)
    await fan_out(store, edited, USERS)
    await finish(store, edited, 1)
    change = await watching.look()
    assert (change.whole, change.version) == (True, 2)
    assert sorted(watching.view.users) == sorted(USERS)
    assert set(watching.view.states) == {"p"}


async def test_of_very_many_recipients_the_first_are_watched(watching: Watching):
    post = WatchedPost(
        watching.service.store,
        SHARDS,
        watching.service.posts,
        watching.event.post,
        recipients_max=4,
    )
    change = await post.look()
    view = View().take(change)
    assert len(view.users) == 4
    assert change.cut
    assert sum(size for _, _, size in view.places) == 4
    for number in range(SHARDS):
        await watching.record(number, State.DELIVERED)
    view.take(await post.look())
    assert set(view.states) == {"d"}


async def test_exactly_as_many_as_may_be_watched_are_all_of_them(watching: Watching):
    post = WatchedPost(
        watching.service.store,
        SHARDS,
        watching.service.posts,
        watching.event.post,
        recipients_max=len(USERS),
    )
    change = await post.look()
    assert (len(change.users), change.cut) == (len(USERS), False)


@pytest.mark.parametrize("wrong", ["nonsense", "01kg9ys7g0d2pf2d03"])
async def test_a_post_that_is_not_there_is_an_error(store: Store, wrong: str):
    service = Service.on(store)
    with pytest.raises(PostNotFound):
        await WatchedPost(store, SHARDS, service.posts, wrong).look()
