import asyncio
import time

import pytest

from app.domain.post import Event, EventKind
from app.domain.shard import shard_of
from app.errors import StoreUnavailable
from app.store import keys
from tests.api.conftest import EPOCH, SHARDS, Api, fan_out, user_token
from tests.wait import wait_until


async def send(api: Api, *users: str, text: str = "hello") -> str:
    """Posts, and fans out to these users; the post's id."""
    post = await api.publish(data={"text": text})
    await fan_out(api.services.store, Event(post["id"], 1, EventKind.CREATED), users)
    return post["id"]


async def feed(api: Api, user: str = "bob", **params: object) -> dict[str, object]:
    answer = await api.admin.get(f"/v1/users/{user}/feed", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def is_joined(api: Api, user: str) -> bool:
    route = await api.services.store.execute("HGET", keys.routes(shard_of(user, SHARDS)), user)
    return b"@testnode" in (route or b"").split()


async def test_an_empty_feed_has_the_epoch_and_nothing_else(api: Api):
    assert await feed(api) == {
        "epoch": EPOCH,
        "items": [],
        "next_offset": 0,
        "head_offset": 0,
        "cursor": 0,
    }


async def test_the_feed_has_posts_in_the_order_of_their_offsets(api: Api):
    ids = [await send(api, "bob", text=f"n{n}") for n in range(5)]
    page = await feed(api)
    assert [(item["offset"], item["post"]["id"]) for item in page["items"]] == list(
        enumerate(ids, 1)
    )
    assert {item["type"] for item in page["items"]} == {"post.created"}
    assert page["items"][2]["post"]["data"] == {"text": "n2"}
    assert page["items"][2]["post"]["author"] == "ann"
    assert (page["next_offset"], page["head_offset"], page["cursor"]) == (5, 5, 0)


async def test_a_page_goes_on_where_the_one_before_said(api: Api):
    ids = [await send(api, "bob") for _ in range(5)]
    found, after = [], 0
    while True:
        page = await feed(api, after=after, limit=2)
        if not page["items"]:
            break
        found += [item["post"]["id"] for item in page["items"]]
        after = page["next_offset"]
    assert (found, after) == (ids, 5)


async def test_a_page_that_gets_large_ends_early(api: Api, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("app.api.feed.PAGE_BYTES_MAX", 1_000)
    texts = ["x" * 300, "x" * 300, "x" * 2_000, "y"]
    for text in texts:
        await send(api, "bob", text=text)
    found, after = [], 0
    while len(found) < len(texts):
        page = await feed(api, after=after)
        assert page["head_offset"] == len(texts)
        found += [item["post"]["data"]["text"] for item in page["items"]]
        after = page["next_offset"]
        assert after == len(found)
    assert found == texts
    assert len((await feed(api, after=0))["items"]) == 2
    assert len((await feed(api, after=2))["items"]) == 1


async def test_without_after_the_feed_starts_at_the_cursor(api: Api):
    for _ in range(3):
        await send(api, "bob")
    await api.admin.put("/v1/users/bob/cursor", json={"offset": 2})
    page = await feed(api)
    assert [item["offset"] for item in page["items"]] == [3]
    assert page["cursor"] == 2
    assert len((await feed(api, after=0))["items"]) == 3


async def test_the_cursor_never_goes_back_nor_past_the_head(api: Api):
    for _ in range(3):
        await send(api, "bob")

    async def move(offset: int) -> dict[str, int]:
        return (await api.admin.put("/v1/users/bob/cursor", json={"offset": offset})).json()

    assert await move(2) == {"cursor": 2, "head_offset": 3, "unread": 1}
    assert await move(1) == {"cursor": 2, "head_offset": 3, "unread": 1}
    assert await move(99) == {"cursor": 3, "head_offset": 3, "unread": 0}
    assert await move(0) == {"cursor": 3, "head_offset": 3, "unread": 0}


async def test_offsets_that_are_gone_are_named_as_a_gap(api: Api):
    for _ in range(11):  # the inbox is cut to 8 when it reaches 10
        await send(api, "bob")
    page = await feed(api, after=0)
    assert page["gap"] == {"from": 1, "to": 2}
    assert [item["offset"] for item in page["items"]] == list(range(3, 12))
    assert "gap" not in await feed(api, after=2)
    assert (await feed(api, after=1))["gap"] == {"from": 2, "to": 2}


async def test_a_client_ahead_of_the_inbox_is_answered_at_once(api: Api):
    await send(api, "bob")
    page = await feed(api, after=50, wait_s=30)
    assert (page["items"], page["next_offset"], page["head_offset"]) == ([], 1, 1)


async def test_edits_and_deletions_come_as_events_of_their_own(api: Api):
    id_ = await send(api, "bob", text="first")
    store = api.services.store
    await api.admin.patch(f"/v1/posts/{id_}", json={"data": {"text": "second"}})
    await fan_out(store, Event(id_, 2, EventKind.UPDATED), ["bob"])
    page = await feed(api)
    assert [item["type"] for item in page["items"]] == ["post.created", "post.updated"]
    # An edited text is not shown any more, not even where it was first told of.
    assert {item["post"]["data"]["text"] for item in page["items"]} == {"second"}
    await api.admin.delete(f"/v1/posts/{id_}")
    await fan_out(store, Event(id_, 3, EventKind.DELETED), ["bob"])
    page = await feed(api)
    assert [item["offset"] for item in page["items"]] == [1, 2, 3]
    assert [item["type"] for item in page["items"]][2] == "post.deleted"
    assert {(item["post"]["deleted"], item["post"]["data"]) for item in page["items"]} == {
        (True, None)
    }


async def test_a_post_that_is_no_longer_kept_leaves_its_id(api: Api):
    id_ = await send(api, "bob")
    shard = int(id_[-1], 32)
    await api.services.store.execute("DEL", keys.post(shard, id_))
    (item,) = (await feed(api))["items"]
    assert item["post"] == {"id": id_, "expired": True}


async def test_a_waiting_client_is_answered_as_soon_as_something_comes(running_api: Api):
    api = running_api
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(feed(api, wait_s=30))
        await wait_until(lambda: is_joined(api, "bob"))
        started = time.monotonic()
        id_ = await send(api, "bob")
    page = waiting.result()
    assert [item["post"]["id"] for item in page["items"]] == [id_]
    assert time.monotonic() - started < 5


async def test_what_is_there_is_answered_without_waiting_or_joining(running_api: Api):
    await send(running_api, "bob")
    assert len((await feed(running_api, wait_s=30))["items"]) == 1
    assert not await is_joined(running_api, "bob")


async def test_a_wait_that_brings_nothing_ends_in_time(running_api: Api):
    started = time.monotonic()
    page = await feed(running_api, wait_s=0.2)
    assert page["items"] == []
    assert 0.2 <= time.monotonic() - started < 5


async def test_several_clients_of_one_user_are_all_answered(running_api: Api):
    api = running_api
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(feed(api, wait_s=30)) for _ in range(2)]
        await wait_until(lambda: api.services.waiters.waiting == 2)
        await wait_until(lambda: is_joined(api, "bob"))
        await send(api, "bob", "cyd")
    assert [len(task.result()["items"]) for task in waiting] == [1, 1]


async def test_a_user_whose_waits_are_over_is_taken_out_of_their_route(running_api: Api):
    api = running_api
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(feed(api, wait_s=30))
        await wait_until(lambda: is_joined(api, "bob"))
        await send(api, "bob")

    async def left() -> bool:
        return not await is_joined(api, "bob")

    await wait_until(left)


async def test_waits_are_bounded_for_all_and_for_one_user(running_api: Api):
    api = running_api
    async with asyncio.TaskGroup() as tasks:
        users = ["bob", "bob", "cyd", "dan"]  # four in all, two of them one user's
        waiting = [tasks.create_task(feed(api, user, wait_s=30)) for user in users[:2]]
        await wait_until(lambda: api.services.waiters.waiting == 2)
        one_more = await api.admin.get("/v1/users/bob/feed?wait_s=30")
        assert (one_more.status_code, one_more.headers["retry-after"]) == (429, "1")
        waiting += [tasks.create_task(feed(api, user, wait_s=30)) for user in users[2:]]
        await wait_until(lambda: api.services.waiters.waiting == 4)
        full = await api.admin.get("/v1/users/eve/feed?wait_s=30")
        assert (full.status_code, full.headers["retry-after"]) == (503, "1")
        assert api.services.waiters.refused == {"per_user": 1, "feed_waits_max": 1}
        lines = (await api.admin.get("/metrics")).text.splitlines()
        assert 'moments_api_feed_waits_refused_total{limit="feed_waits_max"} 1.0' in lines
        api.services.waiters.release()
    assert [task.result()["items"] for task in waiting] == [[]] * 4
    assert api.services.waiters.waiting == 0


async def test_a_process_that_stops_releases_its_waits(running_api: Api):
    api = running_api
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(feed(api, wait_s=30))
        await wait_until(lambda: is_joined(api, "bob"))
        started = time.monotonic()
        api.services.waiters.release()
    assert waiting.result()["items"] == []
    assert time.monotonic() - started < 5
    assert (await feed(api, wait_s=30))["items"] == []

    async def left() -> bool:
        return not await is_joined(api, "bob")

    await wait_until(left)


async def test_a_client_that_leaves_gives_its_place_free(running_api: Api):
    api = running_api
    left = asyncio.Event()
    sent = []

    async def receive():
        if not sent:
            sent.append("request")
            return {"type": "http.request", "body": b"", "more_body": False}
        await left.wait()
        return {"type": "http.disconnect"}

    async def send_nothing(message):
        raise AssertionError("an answer to nobody")

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/v1/users/bob/feed",
        "root_path": "",
        "query_string": b"wait_s=30",
        "headers": [(b"authorization", f"Bearer {user_token('bob')}".encode())],
    }
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(api.app(scope, receive, send_nothing))
        await wait_until(lambda: is_joined(api, "bob"))
        assert api.services.waiters.waiting == 1
        left.set()
    assert api.services.waiters.waiting == 0
    assert api.services.stats.by_status[499] == 1


@pytest.mark.parametrize("who", ["own token", "read", "admin"])
async def test_whoever_may_see_a_feed_may_wait_for_it(running_api: Api, who: str):
    credential = user_token("bob") if who == "own token" else who
    async with running_api.client(credential) as client:
        answer = await client.get("/v1/users/bob/feed?wait_s=0.05")
    assert answer.status_code == 200


async def test_the_store_failing_while_somebody_waits_is_a_503(
    running_api: Api, monkeypatch: pytest.MonkeyPatch
):
    inbox = running_api.services.inbox
    read, calls = inbox.read, []

    async def once(*ask):
        calls.append(ask)
        if len(calls) > 1:
            raise StoreUnavailable("away")
        return await read(*ask)

    monkeypatch.setattr(inbox, "read", once)
    answer = await running_api.admin.get("/v1/users/bob/feed?wait_s=30")
    assert answer.status_code == 503
    assert running_api.services.waiters.waiting == 0
