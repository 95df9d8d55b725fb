"""The cache of posts: one fetch for many who ask, never older than asked for, bounded."""

import asyncio
from collections.abc import Iterable

import pytest

from app.domain.post import Event, EventKind, Post
from app.errors import StoreUnavailable
from app.store.bodies import Bodies
from app.store.client import Store
from tests.store.service import NOW_MS, Service
from tests.wait import wait_until


def event(post: str, version: int = 1) -> Event:
    return Event(post, version, EventKind.CREATED if version == 1 else EventKind.UPDATED)


class Source:
    """Posts that are given out when told to; `fetched` has what was asked for."""

    def __init__(self) -> None:
        self.posts: dict[str, Post] = {}
        self.fetched: list[list[str]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None

    def put(self, id_: str, version: int = 1, data: bytes = b"{}") -> Post:
        self.posts[id_] = Post(id_, "ann", "post", version, NOW_MS, NOW_MS, data)
        return self.posts[id_]

    async def get_many(self, ids: Iterable[str]) -> dict[str, Post]:
        wanted = list(ids)
        self.fetched.append(wanted)
        found = {id_: self.posts[id_] for id_ in wanted if id_ in self.posts}
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return found


@pytest.fixture
async def source() -> Source:
    return Source()


@pytest.fixture
def time() -> list[float]:
    return [100.0]


@pytest.fixture
async def bodies(source: Source, time: list[float]) -> Bodies:
    return Bodies(source, max_posts=3, max_bytes=100, max_age_s=5, clock=lambda: time[0])


async def test_posts_come_from_the_store_and_are_none_when_not_kept(store: Store) -> None:
    service = Service.on(store)
    made = await service.post()
    gone = event("01k2v3w4x5y6z7a800")
    found = await Bodies(service.posts).get([made, gone])
    assert found == {made.post: await service.posts.get(made.post), gone.post: None}


async def test_a_post_is_fetched_once_and_again_when_it_is_too_old(
    bodies: Bodies, source: Source, time: list[float]
) -> None:
    post = source.put("a")
    assert await bodies.get([event("a")]) == await bodies.get([event("a")]) == {"a": post}
    time[0] += 5.0
    assert bodies.peek(event("a")) == post
    assert (bodies.hits, bodies.misses) == (1, 1)
    time[0] += 0.1
    assert bodies.peek(event("a")) is None
    await bodies.get([event("a")])
    assert source.fetched == [["a"], ["a"]]


async def test_what_is_not_there_is_asked_for_every_time(bodies: Bodies, source: Source) -> None:
    assert await bodies.get([event("a")]) == await bodies.get([event("a")]) == {"a": None}
    assert len(source.fetched) == 2


async def test_an_older_version_than_the_events_is_fetched_again(
    bodies: Bodies, source: Source
) -> None:
    source.put("a")
    await bodies.get([event("a")])
    newer = source.put("a", 2)
    assert bodies.peek(event("a", 2)) is None
    assert await bodies.get([event("a", 2)]) == {"a": newer}
    assert await bodies.get([event("a", 1)]) == {"a": newer}


@pytest.mark.parametrize("versions", [(1, 2), (2, 1)])
async def test_of_two_events_of_a_post_the_newer_decides(
    bodies: Bodies, source: Source, versions: tuple[int, int]
) -> None:
    source.put("a")
    await bodies.get([event("a")])
    newer = source.put("a", 2)
    assert await bodies.get([event("a", version) for version in versions]) == {"a": newer}


async def test_a_newer_event_is_not_content_with_a_fetch_begun_before(
    bodies: Bodies, source: Source
) -> None:
    source.put("a")
    source.open.clear()
    early = asyncio.create_task(bodies.get([event("a")]))
    await wait_until(lambda: source.fetched)
    newer = source.put("a", 2)
    late = asyncio.create_task(bodies.get([event("a", 1), event("a", 2)]))
    await asyncio.sleep(0)
    source.open.set()
    assert (await early)["a"].version == 1
    assert await late == {"a": newer}


async def test_many_who_ask_at_once_share_one_fetch(bodies: Bodies, source: Source) -> None:
    source.put("a")
    source.put("b")
    source.open.clear()
    asks = [asyncio.create_task(bodies.get([event("a"), event("b")])) for _ in range(5)]
    await wait_until(lambda: source.fetched)
    source.open.set()
    assert all(found == source.posts for found in await asyncio.gather(*asks))
    assert source.fetched == [["a", "b"]]


async def test_a_fetch_that_fails_fails_for_its_caller_and_others_try_themselves(
    bodies: Bodies, source: Source
) -> None:
    post = source.put("a")
    source.open.clear()
    first = asyncio.create_task(bodies.get([event("a")]))
    await wait_until(lambda: source.fetched)
    second = asyncio.create_task(bodies.get([event("a")]))
    await asyncio.sleep(0)
    source.error = StoreUnavailable("away")
    source.open.set()
    with pytest.raises(StoreUnavailable):
        await first
    source.error = None
    assert await second == {"a": post}


async def test_a_caller_that_gives_up_does_not_take_the_fetch_from_others(
    bodies: Bodies, source: Source
) -> None:
    post = source.put("a")
    source.open.clear()
    first = asyncio.create_task(bodies.get([event("a")]))
    await wait_until(lambda: source.fetched)
    second, third = (asyncio.create_task(bodies.get([event("a")])) for _ in range(2))
    await asyncio.sleep(0)
    third.cancel()
    first.cancel()
    await asyncio.wait([first, third])
    source.open.set()
    assert await second == {"a": post}


async def test_the_oldest_of_too_many_posts_is_dropped(bodies: Bodies, source: Source) -> None:
    for id_ in "abcd":
        source.put(id_)
        await bodies.get([event(id_)])
    assert [bodies.peek(event(id_)) is not None for id_ in "abcd"] == [False, True, True, True]


async def test_what_is_kept_is_bounded_in_bytes_as_well(bodies: Bodies, source: Source) -> None:
    for id_, size in (("a", 60), ("b", 60), ("c", 40)):
        source.put(id_, data=b"x" * size)
        await bodies.get([event(id_)])
    assert [bodies.peek(event(id_)) is not None for id_ in "abc"] == [False, True, True]
    source.put("b", 2, data=b"x")
    await bodies.get([event("b", 2)])
    source.put("d", data=b"x" * 59)
    await bodies.get([event("d")])
    assert [bodies.peek(event(id_)) is not None for id_ in "bcd"] == [True, True, True]


async def test_a_forgotten_post_is_fetched_again(bodies: Bodies, source: Source) -> None:
    source.put("a")
    await bodies.get([event("a")])
    bodies.forget("a")
    bodies.forget("never there")
    await bodies.get([event("a")])
    assert source.fetched == [["a"], ["a"]]
