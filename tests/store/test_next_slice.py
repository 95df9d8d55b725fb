"""next_slice.lua and finish_event.lua: the audience in slices, each once, whatever dies."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.domain.ids import shard_of_id
from app.domain.post import Audience, Event, EventKind
from app.domain.shard import shard_of
from app.store import keys
from app.store.client import Store
from app.store.embedded import EmbeddedServer
from app.store.graph import EdgeKind, Graph
from app.wire import decode_audience
from tests.opened_store import opened
from tests.store.service import ANYBODY, NOW_MS, SHARDS, Service, finish

FRIEND, FOLLOW, BLOCK = EdgeKind.FRIEND, EdgeKind.FOLLOW, EdgeKind.BLOCK
SHARD = shard_of("ann", SHARDS)
LEASE = keys.lease(SHARD, keys.FANOUT)


@dataclass(frozen=True, slots=True)
class Slice:
    number: int
    last: bool
    deleted: bool
    type: str
    audience: Audience
    members: list[str]
    size: int


class Worker:
    """Fans the posts of ann's shard out, as far as it concerns these two scripts."""

    def __init__(self, store: Store, token: str = "one", limit: int = 3) -> None:
        self.store, self.token, self.limit = store, token, limit

    async def take(self) -> "Worker":
        await self.store.execute("SET", LEASE, self.token, "EX", 60)
        return self

    async def next(self, event: Event, finished: int) -> Slice | bytes:
        answer = await self.store.call(
            "next_slice",
            [
                LEASE,
                keys.post(shard_of_id(event.post), event.post),
                *(keys.friends(SHARD, "ann"), keys.followers(SHARD, "ann")),
                *(keys.blocks(SHARD, "ann"), keys.blockers(SHARD, "ann")),
            ],
            [self.token, event.version, finished, self.limit],
        )
        if isinstance(answer, bytes):
            return answer
        number, last, deleted, type_, audience, size, *members = answer
        return Slice(
            *(number, bool(last), bool(deleted), type_.decode()),
            *(decode_audience(audience), [member.decode() for member in members], size),
        )

    async def all(self, event: Event) -> list[list[str]]:
        """The members of all slices until nothing is left."""
        slices: list[list[str]] = []
        finished = -1
        while True:
            found = await self.next(event, finished)
            assert isinstance(found, Slice)
            if found.number < 0:
                return slices
            assert found.number == finished + 1
            slices.append(found.members)
            finished = found.number
            if found.last:
                return slices

    async def finish(self, event: Event, entry: bytes, slices: int) -> int | bytes:
        named = [LEASE, keys.posts(SHARD), keys.post(SHARD, event.post), keys.newest(SHARD)]
        args = [self.token, keys.GROUP, entry, event.version, slices]
        args += [event.post, 3, 3_600]
        return await self.store.call("finish_event", named, args)


async def graph_of(store: Store, **edges: list[str]) -> Graph:
    """Ann's graph: friends, followers, whom she blocks, who blocks her."""
    graph = Graph(store, SHARDS, friends_max=0, follows_max=0, blocks_max=0)
    await graph.add_many(
        [
            *((FRIEND, "ann", user) for user in edges.get("friends", ())),
            *((FOLLOW, user, "ann") for user in edges.get("followers", ())),
            *((BLOCK, "ann", user) for user in edges.get("blocks", ())),
            *((BLOCK, user, "ann") for user in edges.get("blockers", ())),
        ]
    )
    return graph


async def test_friends_and_followers_come_once_each_in_slices(store: Store) -> None:
    friends = [f"f{n}" for n in range(7)]
    await graph_of(store, friends=friends, followers=["f0", "f3", "e1", "f35", "z"])
    worker = await Worker(store).take()
    slices = await worker.all(await Service.on(store).post())
    assert slices == [["e1", "f0", "f1"], ["f2", "f3", "f35"], ["f4", "f5", "f6"], ["z"]]


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 5, 6])
async def test_a_slice_says_that_it_is_the_last_or_the_next_one_is_none(
    store: Store, number: int
) -> None:
    friends = [f"f{n}" for n in range(number)]
    await graph_of(store, friends=friends)
    worker = await Worker(store).take()
    slices = await worker.all(await Service.on(store).post())
    assert [user for members in slices for user in members] == friends
    assert all(len(members) <= 3 for members in slices)


async def test_each_slice_says_about_how_many_the_whole_event_goes_to(store: Store) -> None:
    await graph_of(store, friends=[f"f{n}" for n in range(7)], followers=["f0", "e1"])
    worker = await Worker(store).take()
    event = await Service.on(store).post()
    sizes = []
    for finished in (-1, 0, 1):
        found = await worker.next(event, finished)
        assert isinstance(found, Slice)
        sizes.append(found.size)
    assert sizes == [9, 9, 9]  # who is both counts twice


async def test_blocks_either_way_are_left_out(store: Store) -> None:
    friends = [f"f{n}" for n in range(6)]
    await graph_of(store, friends=friends, blocks=["f1", "x"], blockers=["f3", "f4", "f5"])
    worker = await Worker(store).take()
    assert await worker.all(await Service.on(store).post()) == [["f0", "f2"], []]


async def test_only_cuts_the_audience_and_adds_nobody(store: Store) -> None:
    await graph_of(
        store, friends=["f1", "f2"], followers=["g1"], blocks=["f2"], blockers=["nobody"]
    )
    wanted = Audience(only=frozenset({"f1", "f2", "g1", "stranger", "nobody"}))
    event = await Service.on(store).post(audience=wanted)
    worker = await Worker(store, limit=2).take()
    slices = await worker.all(event)
    assert sorted(user for members in slices for user in members) == ["f1", "g1"]
    assert len(slices) == 3


async def test_only_with_nobody_has_no_slice(store: Store) -> None:
    await graph_of(store, friends=["f1"])
    event = await Service.on(store).post(audience=Audience(only=frozenset()))
    assert await (await Worker(store).take()).all(event) == []


async def test_except_is_handed_on_with_the_slice(store: Store) -> None:
    await graph_of(store, friends=["f1", "f2"])
    event = await Service.on(store).post(audience=Audience(excepted=frozenset({"f1"})))
    found = await (await Worker(store).take()).next(event, -1)
    assert isinstance(found, Slice)
    assert [user for user in found.members if found.audience.admits(user)] == ["f2"]


@pytest.mark.parametrize("audience", [ANYBODY, Audience(only=frozenset(f"f{n}" for n in range(7)))])
async def test_a_slice_asked_for_again_after_a_crash_is_the_same_one(
    store: Store, audience: Audience
) -> None:
    graph = await graph_of(store, friends=[f"f{n}" for n in range(7)])
    event = await Service.on(store).post(audience=audience)
    worker = await Worker(store).take()
    first = await worker.next(event, -1)
    assert await worker.next(event, -1) == first  # the answer was lost
    second = await worker.next(event, 0)
    assert isinstance(second, Slice)
    successor = await Worker(store, "two").take()
    await graph.add(FRIEND, "ann", "f25")  # moves nobody from one slice into another
    again = await successor.next(event, -1)
    assert isinstance(again, Slice)
    assert again.number == 1
    assert [user for user in again.members if user != "f25"] == second.members
    rest = await successor.next(event, 1)
    assert isinstance(rest, Slice)
    assert rest.members[-1] == "f6"
    assert not set(rest.members) & set(again.members)


async def test_thousands_who_came_into_a_slice_since_are_no_trouble(store: Store) -> None:
    await graph_of(store, friends=["a", "c"], blocks=["b17"])
    event = await Service.on(store).post()
    worker = await Worker(store, limit=2).take()
    await worker.next(event, -1)
    came = [f"b{number}" for number in range(9_000)]
    await graph_of(store, followers=came)
    again = await (await Worker(store, "two", limit=2).take()).next(event, -1)
    assert isinstance(again, Slice)
    assert sorted(again.members) == sorted({"a", "c", *came} - {"b17"})


async def test_a_slice_whose_members_have_all_left_is_passed(store: Store) -> None:
    graph = await graph_of(store, friends=[f"f{n}" for n in range(5)])
    event = await Service.on(store).post()
    worker = await Worker(store).take()
    await worker.next(event, -1)
    for n in range(3):
        await graph.remove(FRIEND, "ann", f"f{n}")
    successor = await Worker(store, "two").take()
    assert await successor.all(event) == [[], ["f3", "f4"]]


async def test_without_the_lease_nothing_is_given_out_or_finished(store: Store) -> None:
    await graph_of(store, friends=["f1"])
    event = await Service.on(store).post()
    worker = await Worker(store).take()
    await Worker(store, "two").take()
    assert await worker.next(event, -1) == b"lost"
    (entry, _), *_ = await store.execute("XRANGE", keys.posts(SHARD), "-", "+")
    assert await worker.finish(event, entry, 1) == b"lost"
    assert await store.execute("XLEN", keys.posts(SHARD)) == 1
    assert not await store.execute("HEXISTS", keys.post(SHARD, event.post), "fanned:1")


async def test_a_post_whose_retention_is_over_is_missing_and_can_be_finished(
    store: Store,
) -> None:
    event = await Service.on(store).post()
    worker = await Worker(store).take()
    await store.execute("DEL", keys.post(SHARD, event.post))
    assert await worker.next(event, -1) == b"missing"
    (entry, _), *_ = await store.execute("XRANGE", keys.posts(SHARD), "-", "+")
    assert await worker.finish(event, entry, 0) == 1
    assert await store.execute("XLEN", keys.posts(SHARD)) == 0
    assert not await store.execute("EXISTS", keys.post(SHARD, event.post))


async def test_a_finished_event_is_acknowledged_deleted_and_done_once(store: Store) -> None:
    service = Service.on(store)
    event = await service.post()
    worker = await Worker(store).take()
    args = [worker.token, keys.GROUP, keys.CONSUMER, 9, ">"]
    ((entry, _),) = await store.call("read_group", [LEASE, keys.posts(SHARD)], args)
    for slices in (4, 9):  # the second time because the answer was lost
        assert await worker.finish(event, entry, slices) == 1
    assert await store.execute("XPENDING", keys.posts(SHARD), keys.GROUP) == [0, None, None, None]
    progress = await service.posts.progress(event.post)
    assert progress is not None
    assert (progress.fanned_out, progress.slices) == (True, 4)
    found = await worker.next(event, 3)
    assert isinstance(found, Slice)
    assert found.number == -1


async def test_later_versions_go_through_the_slices_of_the_first(store: Store) -> None:
    await graph_of(store, friends=["f1"])
    service = Service.on(store)
    event = await service.post()
    await finish(store, event, slices=3)
    await service.posts.edit(event.post, b"{}", NOW_MS)
    edit = Event(event.post, 2, EventKind.UPDATED)
    worker = await Worker(store).take()
    found = [await worker.next(edit, finished) for finished in (-1, -1, 0, 1)]
    assert all(isinstance(one, Slice) and not one.members for one in found)
    assert [(one.number, one.last) for one in found if isinstance(one, Slice)] == [
        *((0, False), (0, False), (1, False), (2, True)),
    ]
    successor = await Worker(store, "two").take()
    resumed = await successor.next(edit, -1)
    assert isinstance(resumed, Slice)
    assert (resumed.number, resumed.last) == (2, True)


async def test_a_later_version_of_a_post_that_went_to_nobody_goes_to_nobody(
    store: Store,
) -> None:
    service = Service.on(store)
    event = await service.post()
    await finish(store, event, slices=0)
    await service.posts.delete(event.post, NOW_MS)
    found = await (await Worker(store).take()).next(Event(event.post, 2, EventKind.DELETED), -1)
    assert isinstance(found, Slice)
    assert (found.number, found.deleted) == (-1, True)


async def test_a_post_deleted_meanwhile_says_so(store: Store) -> None:
    await graph_of(store, friends=["f1"])
    service = Service.on(store)
    event = await service.post()
    await service.posts.delete(event.post, NOW_MS)
    found = await (await Worker(store).take()).next(event, -1)
    assert isinstance(found, Slice)
    assert found.deleted


# The order of letters in a language, as localedef reads it: "a" before "B", unlike their bytes.
COLLATION = """
LC_COLLATE
order_start forward
<U003A>
<U002E>
<U002D>
<U005F>
<U0061>
<U0041>
<U0062>
<U0042>
<U007A>
<U005A>
order_end
END LC_COLLATE
"""


@pytest.fixture
def sorting_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedServer]:
    """A server whose language has an order of its own."""
    localedef = shutil.which("localedef")
    if localedef is None:
        pytest.skip("there is no localedef to make a locale with")
    (tmp_path / "source").write_text(COLLATION)
    # It warns of all that such a locale lacks, and says so with its exit code.
    command = [localedef, "-c", "-i", "source", "-f", "UTF-8", str(tmp_path / "own.UTF-8")]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.setenv("LOCPATH", str(tmp_path))
    monkeypatch.setenv("LC_COLLATE", "own.UTF-8")
    server = EmbeddedServer(tmp_path / "data")
    server.start()
    yield server
    server.stop()


async def test_nobody_is_left_out_whatever_the_servers_language(
    sorting_server: EmbeddedServer,
) -> None:
    friends = ["B", "a", "z", "Z", "_", "a.b", "aa", "a-b"]
    followers = ["A", "b", "a", "Z", "aB", "ab", ":"]
    async with opened(sorting_server.url) as store:
        assert await store.execute("EVAL", "return tostring('a' < 'B')", 0) == b"true"
        await graph_of(store, friends=friends, followers=followers)
        worker = await Worker(store, limit=2).take()
        slices = await worker.all(await Service.on(store).post())
    got = [user for members in slices for user in members]
    assert got == sorted({*friends, *followers}, key=str.encode)
