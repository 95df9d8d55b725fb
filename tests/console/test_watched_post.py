"""How often a post is looked at, and how closely."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from app.console import watched_post
from app.console.watched_post import LATE_S, SOON_S, THOROUGH_S, PostSource
from app.domain.post import Event, EventKind
from app.store import watched
from app.store.client import Store
from tests.api.conftest import Api, fan_out, make_services, serve


@dataclass
class Clock:
    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Watched:
    api: Api
    post: str
    clock: Clock
    source: PostSource

    async def look(self) -> dict[str, object] | None:
        self.clock.now_s += self.source.pause_s
        message = await self.source.look(thorough=False)
        return None if message is None else json.loads(message)


@pytest.fixture
async def watching(single_store: Store) -> AsyncIterator[Watched]:
    async with serve(make_services(single_store)) as api:
        post = str((await api.publish())["id"])
        await fan_out(single_store, Event(post, 1, EventKind.CREATED), ["bob", "cyd"])
        clock = Clock()
        yield Watched(api, post, clock, PostSource(api.services, post, clock=clock))


async def test_looks_are_seldom_while_nothing_changes_and_frequent_when_something_does(
    watching: Watched,
):
    assert await watching.look() is not None
    assert watching.source.pause_s == SOON_S
    pauses = []
    for _ in range(12):
        assert await watching.look() is None
        pauses.append(watching.source.pause_s)
    assert pauses == sorted(pauses)
    assert pauses[-1] == LATE_S
    await watching.api.services.inbox.advance({"bob": 1})
    assert await watching.look() is not None
    assert watching.source.pause_s == SOON_S


async def test_once_all_is_settled_looks_are_seldom_at_once(watching: Watched):
    await watching.api.services.inbox.advance({"bob": 1, "cyd": 1})
    told = await watching.look()
    assert told is not None
    assert told["settled"] is True
    assert await watching.look() is None
    assert watching.source.pause_s == LATE_S


async def test_now_and_then_a_look_is_thorough(watching: Watched, monkeypatch: pytest.MonkeyPatch):
    asked: list[bool] = []
    look = watching.source._post.look

    async def noted(*, thorough: bool):
        asked.append(thorough)
        return await look(thorough=thorough)

    monkeypatch.setattr(watching.source._post, "look", noted)
    for _ in range(9):
        watching.source.pause_s = SOON_S
        await watching.look()
    gap = round(THOROUGH_S / SOON_S)
    assert [number for number, closely in enumerate(asked) if closely] == [0, gap]


async def test_a_post_to_more_than_are_watched_is_counted(
    watching: Watched, monkeypatch: pytest.MonkeyPatch
):
    services = watching.api.services
    few = watched.WatchedPost(
        services.store, services.shards, services.posts, watching.post, recipients_max=1
    )
    monkeypatch.setattr(watched_post, "WatchedPost", lambda *_: few)
    source = PostSource(services, watching.post)
    told = json.loads(await source.look(thorough=False) or "")
    assert (len(told["users"]), told["cut"]) == (1, True)
    await source.look(thorough=True)
    assert services.stats.console_limits == {"recipients": 1}
