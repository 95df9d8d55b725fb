"""Every call that the service describes has its method, and each method makes the call it says."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from moments_client import Conflict, Edge, Invalid, Moments, NotFound
from moments_client.answers import EndpointState
from tests.clients.python.live import Live
from tests.receivers import Receiver
from tests.wait import wait_until


class Recorder:
    """What a client asked for, and what it was answered."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    async def note(self, response: httpx.Response) -> None:
        self.seen.append((response.request.method, response.request.url.path))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def moments(running: Live, recorder: Recorder) -> AsyncIterator[Moments]:
    async with (
        httpx.AsyncClient(event_hooks={"response": [recorder.note]}) as http,
        Moments(running.url, running.key, http=http) as moments,
    ):
        yield moments


def template_of(method: str, path: str, described: dict[str, Any]) -> str:
    """Which of the described calls a request was."""
    for template, calls in described["paths"].items():
        pattern = re.sub(r"\\{\w+\\}", "[^/:]+", re.escape(template))
        if method.lower() in calls and re.fullmatch(pattern, path):
            return f"{method} {template}"
    return f"{method} {path}, which is not described"


async def test_every_call_that_is_described_can_be_made(moments: Moments, recorder: Recorder):
    async with Receiver(echoes=True) as receiver:
        await make_every_call(moments, receiver)
    assert "channels" in await moments.operations.push_description()
    described = await moments.operations.description()
    every = {
        f"{method.upper()} {template}"
        for template, calls in described["paths"].items()
        for method in calls
    }
    made = {template_of(method, path, described) for method, path in recorder.seen}
    assert made == every


async def make_every_call(moments: Moments, receiver: Receiver) -> None:
    await graph_calls(moments)
    endpoint = await endpoint_calls(moments, receiver)
    await post_calls(moments, endpoint)
    await feed_calls(moments)
    await access_calls(moments)
    await operations_calls(moments)
    await moments.endpoints.delete(endpoint)
    with pytest.raises(NotFound, match="no such endpoint"):
        await moments.endpoints.get(endpoint)


async def graph_calls(moments: Moments) -> None:
    graph = moments.graph
    await graph.befriend("ann", "bob")
    await graph.follow("cyd", "ann")
    await graph.block("ann", "dan")
    assert await graph.friends("ann").all() == ["bob"]
    assert await graph.follows("cyd").all() == ["ann"]
    assert await graph.followers("ann").all() == ["cyd"]
    assert await graph.blocks("ann").all() == ["dan"]
    await graph.unblock("ann", "dan")
    await graph.unfollow("cyd", "ann")
    await graph.unfriend("ann", "bob")
    assert await graph.friends("ann").all() == []
    edges = [Edge("friend", "ann", "bob"), Edge("follow", "eve", "eve")]
    imported = await graph.load(edges)
    assert (imported.created, imported.lines) == (1, 2)
    assert [(one.line, one.message) for one in imported.errors] == [(2, "b: must be somebody else")]


async def endpoint_calls(moments: Moments, receiver: Receiver) -> str:
    endpoints = moments.endpoints
    made = await endpoints.create("bob", receiver.url, types=["post.*", "task.*"], rate_per_s=500)
    assert made.secret is not None
    assert made.secret.startswith("whsec_")
    changed = await endpoints.change(made.id, description="Bob's", rate_per_s=None)
    assert (changed.description, changed.rate_per_s, changed.types) == ("Bob's", None, made.types)
    assert [one.id async for one in endpoints.of_user("bob")] == [made.id]
    assert (await endpoints.rotate_secret(made.id, overlap_s=60)).secret != made.secret
    attempt = await endpoints.ping(made.id)
    assert (attempt.status, attempt.error) == (200, None)
    with pytest.raises(Conflict):  # it is active, so that there is nothing to verify
        await endpoints.verify(made.id)
    assert (await endpoints.enable(made.id)).state == "active"
    since = datetime.now(UTC) - timedelta(hours=1)
    assert (await endpoints.recover(made.id, since)).scheduled == 0
    return made.id


async def post_calls(moments: Moments, endpoint: str) -> None:
    post = await moments.posts.create("ann", {"text": "hello"}, only=["bob"])
    assert (post.author, post.type, post.version) == ("ann", "post", 1)
    assert post.created_at.tzinfo is not None
    assert await moments.posts.get(post.id) == post
    assert post.id in [one.id async for one in moments.posts.newest(limit=5)]

    async def delivered() -> Any:
        listing = moments.deliveries.of_post(post.id, channel="webhook", state="delivered")
        return await listing.all()

    [delivery] = await wait_until(delivered)
    assert (delivery.recipient, delivery.endpoint, delivery.attempts) == ("bob", endpoint, 1)
    page = await moments.deliveries.of_post(post.id).first()
    assert page.fanned_out
    assert page.counts.delivered == 1
    full = await moments.deliveries.get(delivery.id)
    assert [attempt.status for attempt in full.log] == [200]
    assert (await moments.deliveries.retry(delivery.id)).id == delivery.id
    assert await moments.deliveries.dead_letters(endpoint=endpoint).all() == []
    since = datetime.now(UTC) - timedelta(hours=1)
    assert (await moments.deliveries.replay(endpoint=endpoint, since=since)).scheduled == 0
    assert [one.status async for one in moments.endpoints.attempts(endpoint)][-1] == 200
    assert (await moments.posts.edit(post.id, {"text": "hi"})).version == 2
    deleted = await moments.posts.delete(post.id)
    assert (deleted.deleted, deleted.data) == (True, None)


async def feed_calls(moments: Moments) -> None:
    feed = await moments.feed.read("bob", after=0, limit=1, wait_s=5)
    [item] = feed.items
    assert (item.offset, feed.next_offset) == (1, 1)
    cursor = await moments.feed.move_cursor("bob", feed.next_offset)
    assert cursor.cursor == 1


async def access_calls(moments: Moments) -> None:
    token = await moments.tokens.create("bob", ttl_s=60)
    assert timedelta() < token.expires_at - datetime.now(UTC) <= timedelta(seconds=60)
    made = await moments.keys.create("reader", ["read"], rate_per_s=5)
    assert made.key.startswith(made.hint)
    assert [one.name async for one in moments.keys.every() if one.id == made.id] == ["reader"]
    await moments.keys.revoke(made.id)
    assert made.id not in [one.id async for one in moments.keys.every()]


async def operations_calls(moments: Moments) -> None:
    assert (await moments.operations.health()).status == "ok"
    readiness = await moments.operations.ready()
    assert "store" in readiness.checks
    stats = await moments.operations.stats()
    assert len(stats.queues_by_shard) == stats.shards
    states: set[EndpointState] = {"active", "open", "disabled", "unverified"}
    assert set(stats.endpoints) == states
    assert {one.role for one in stats.processes} == {"api", "gateway", "worker"}
    size = len(stats.push_seconds.bounds) + 1
    assert [len(stats.push_seconds.counts.webhook), len(stats.push_seconds.counts.socket)] == [
        size
    ] * 2
    assert "moments_" in await moments.operations.metrics()


async def test_lists_go_on_where_a_page_ends(moments: Moments, recorder: Recorder):
    friends = [f"friend-{number:02}" for number in range(23)]
    await moments.graph.load(Edge("friend", "gil", friend) for friend in friends)
    recorder.seen.clear()
    listing = moments.graph.friends("gil", limit=10)
    assert await listing.all() == friends
    assert len(recorder.seen) == 3
    assert [len(page.items) async for page in listing.pages()] == [10, 10, 3]


async def test_an_import_is_sent_as_it_comes(moments: Moments):
    """More than a body may hold, from an iterator that nobody holds whole."""

    async def edges() -> AsyncIterator[Edge]:
        for number in range(4_000):
            yield Edge("follow", f"follower-with-a-rather-long-name-{number}", "star")

    imported = await moments.graph.load(edges())
    assert (imported.created, imported.lines, imported.errors) == (4_000, 4_000, [])


@pytest.mark.parametrize("user", [".", "..", "a.b@c:d-e_f"])
async def test_ids_are_parts_of_a_path_whatever_they_look_like(moments: Moments, user: str):
    await moments.graph.befriend(user, "zoe")
    assert await moments.graph.friends(user).all() == ["zoe"]
    await moments.graph.unfriend(user, "zoe")


@pytest.mark.parametrize("user", ["%2e", "a/b", "a?b", "ü", " "])
async def test_what_is_no_id_is_told_by_the_service(moments: Moments, user: str):
    with pytest.raises((Invalid, NotFound)) as caught:  # a slash leads nowhere
        await moments.graph.befriend(user, "ann")
    if isinstance(caught.value, Invalid):
        assert [one.field for one in caught.value.errors] == ["user"]


async def test_an_empty_id_names_no_other_path(moments: Moments):
    with pytest.raises(ValueError, match="never empty"):
        await moments.posts.get("")
