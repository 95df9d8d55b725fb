"""One poller for each topic that somebody watches, and none for the others."""

import asyncio
import json

from app.api.stats import Stats
from app.console.topics import PENDING_MAX, Topics, Watcher
from app.errors import PostNotFound, StoreUnavailable
from tests.wait import wait_until


class Counting:
    """A source whose every look brings another number, or the error that is set."""

    pause_s = 0.005

    def __init__(self) -> None:
        self.looks = 0
        self.thorough = 0
        self.error: Exception | None = None
        self.is_quiet = False

    async def look(self, *, thorough: bool) -> str | None:
        self.looks += 1
        self.thorough += thorough
        if self.error is not None:
            raise self.error
        return None if self.is_quiet else json.dumps({"new": self.looks})

    def whole(self) -> str:
        return json.dumps({"whole": self.looks})


def make(source: Counting) -> tuple[Topics, Stats, list[str]]:
    asked: list[str] = []

    def maker(rest: str) -> Counting:
        asked.append(rest)
        return source

    stats = Stats()
    return Topics({"post": maker}, stats), stats, asked


async def next_of(watcher: Watcher) -> dict[str, object]:
    async with asyncio.timeout(5):
        return json.loads(await watcher.next())


async def test_nobody_watches_and_nothing_is_asked():
    source = Counting()
    topics, _, asked = make(source)
    assert topics.knows("post:1")
    assert not topics.knows("stats")
    assert (source.looks, asked, topics.running) == (0, [], frozenset())


async def test_all_who_watch_the_same_share_one_poller():
    source = Counting()
    topics, _, asked = make(source)
    async with topics.watch("post:1") as (one, first, _), topics.watch("post:1") as (two, other, _):
        assert one is two
        assert asked == ["1"]
        for watcher in (first, other):
            assert "whole" in await next_of(watcher)
            assert "new" in await next_of(watcher)
        assert topics.running == {"post:1"}
    assert topics.running == frozenset()
    looks = source.looks
    await asyncio.sleep(0.05)
    assert source.looks == looks


async def test_whoever_comes_later_gets_everything_first():
    source = Counting()
    topics, _, _ = make(source)
    async with topics.watch("post:1") as (_, first, _):
        await next_of(first)
        await next_of(first)
        async with topics.watch("post:1") as (_, late, _):
            assert "whole" in await next_of(late)


async def test_whoever_is_too_slow_gets_everything_anew_and_not_what_they_missed():
    source = Counting()
    topics, stats, _ = make(source)
    async with topics.watch("post:1") as (_, watcher, _):
        await wait_until(lambda: stats.console_limits["behind"] >= 1)
        found = [await next_of(watcher) for _ in range(PENDING_MAX)]
        assert any("whole" in message for message in found)
        numbers = [next(iter(message.values())) for message in found]
        assert numbers == sorted(numbers)


async def test_a_nudge_makes_it_look_again_soon_and_closely():
    source = Counting()
    source.pause_s, source.is_quiet = 60, True
    topics, _, _ = make(source)
    async with topics.watch("post:1") as (topic, watcher, _):
        assert "whole" in await next_of(watcher)
        looks = source.looks
        topic.nudge()
        await wait_until(lambda: source.looks > looks)
        assert source.thorough == 1


async def test_a_store_that_is_away_is_told_and_waited_for(monkeypatch):
    monkeypatch.setattr("app.console.topics.AWAY_S", 0.01)
    source = Counting()
    source.error = StoreUnavailable("away")
    topics, _, _ = make(source)
    async with topics.watch("post:1") as (_, watcher, _):
        assert await next_of(watcher) == {"type": "away"}
        source.error = None

        async def is_back() -> bool:
            return "whole" in await next_of(watcher)

        await wait_until(is_back)


async def test_whoever_watched_before_an_outage_gets_everything_anew_after_it(monkeypatch):
    """A look that fails halfway may have found something, which no later one tells as new."""
    monkeypatch.setattr("app.console.topics.AWAY_S", 0.01)
    source = Counting()
    topics, _, _ = make(source)
    async with topics.watch("post:1") as (_, watcher, _):
        assert "whole" in await next_of(watcher)
        source.error = StoreUnavailable("away")
        while "type" not in await next_of(watcher):
            pass
        source.error = None
        while "type" in (after := await next_of(watcher)):
            pass
        assert "whole" in after


async def test_what_is_not_there_is_told():
    source = Counting()
    source.error = PostNotFound("there is no such post")
    topics, _, _ = make(source)
    async with topics.watch("post:1") as (_, watcher, _):
        assert await next_of(watcher) == {"type": "gone", "detail": "there is no such post"}


async def test_a_poller_that_breaks_is_seen_by_those_who_watch_and_begins_anew():
    source = Counting()
    source.error = ZeroDivisionError("a mistake of ours")
    topics, _, asked = make(source)
    async with topics.watch("post:1") as (_, _, telling):
        await asyncio.wait([telling], timeout=5)
        assert isinstance(telling.exception(), ZeroDivisionError)
    source.error = None
    async with topics.watch("post:1") as (_, watcher, _):
        assert "whole" in await next_of(watcher)
    assert asked == ["1", "1"]
