"""The way of a post through a worker to receivers, on one server and on a cluster."""

import asyncio

from app.clock import now_ms
from tests.receivers import Receiver, gated, status
from tests.store.places import check_keys
from tests.wait import wait_until
from tests.workers.rig import Rig, users_of


def types(receiver: Receiver) -> list[str]:
    return [request.json()["type"] for request in receiver.requests]


async def test_a_post_reaches_every_friend_once_and_leaves_nothing_behind(
    rig: Rig, receiver: Receiver
):
    friends = [f"friend{n}" for n in range(40)]
    await rig.befriend("ann", *friends)
    for friend in friends[:30]:
        await rig.register(friend, receiver.url)
    async with rig.working():
        post = await rig.post("ann")
        await rig.settled(post, delivered=30)
    assert sorted(r.json()["recipient"] for r in receiver.requests) == sorted(friends[:30])
    assert len({r.headers["webhook-id"] for r in receiver.requests}) == 30
    assert await rig.inboxes(friends) == {friend: ["c1"] for friend in friends}
    assert {found.place for found in (await rig.places()).values()} == {"delivered"}
    await check_keys(rig.store)


async def test_a_failed_delivery_is_tried_again_at_its_time_and_then_delivered(
    rig: Rig, receiver: Receiver
):
    await rig.befriend("ann", "bob")
    await rig.register("bob", receiver.url, retry_schedule_s=(0.3, 0.2))
    receiver.script.extend([status(500), status(500)])
    async with rig.working() as worker:
        post = await rig.post("ann")
        await rig.settled(post, delivered=1)
        lateness = worker.stats.dispatch.lateness
        assert sum(lateness.counts) == 2  # neither was early
        assert lateness.sum < 2.0  # of a machine that may be busy
    ids = {request.headers["webhook-id"] for request in receiver.requests}
    assert len(ids) == 1
    assert [r.headers["moments-attempt"] for r in receiver.requests] == ["1", "2", "3"]


async def test_a_schedule_that_ends_makes_a_dead_letter_that_can_be_replayed(
    rig: Rig, receiver: Receiver
):
    await rig.befriend("ann", "bob")
    endpoint = await rig.register("bob", receiver.url)
    receiver.script.extend([status(500), status(404), status(418)])
    async with rig.working():
        post = await rig.post("ann")
        await rig.settled(post, dead=1)
        (letter,), _ = await rig.ledger.dead_letters(None, 10)
        assert (letter.state, letter.attempts) == ("dead", 3)
        assert (letter.last_status, letter.last_error) == (418, "http_4xx")
        (found,) = (await rig.places()).values()
        assert found.place == "dead"

        scheduled = await rig.ledger.replay(
            endpoint=endpoint.id, since_ms=None, now_ms=now_ms(), gap_ms=0
        )
        assert scheduled == 1
        await rig.settled(post, delivered=1)
    assert (await rig.ledger.dead_letters(None, 10))[0] == []
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    assert receiver.requests[-1].headers["moments-attempt"] == "4"
    await rig.places()


async def test_a_replayed_delivery_has_its_whole_schedule_before_it_again(
    rig: Rig, receiver: Receiver
):
    await rig.befriend("ann", "bob")
    endpoint = await rig.register("bob", receiver.url, retry_schedule_s=(0.05,))
    receiver.default = status(500)
    async with rig.working():
        post = await rig.post("ann")
        await rig.settled(post, dead=1)
        await rig.ledger.replay(endpoint=endpoint.id, since_ms=None, now_ms=now_ms(), gap_ms=0)
        await wait_until(lambda: len(receiver.requests) == 4)
        await rig.settled(post, dead=1)
    assert [r.headers["moments-attempt"] for r in receiver.requests] == ["1", "2", "3", "4"]


async def test_edits_and_deletions_go_to_exactly_those_that_the_post_went_to(
    rig: Rig, receiver: Receiver
):
    await rig.befriend("ann", "bob", "cid", "dan")
    for user in ("bob", "cid", "dan", "eve"):
        await rig.register(user, receiver.url)
    async with rig.working():
        post = await rig.post("ann", excepted=frozenset({"dan"}))
        await rig.settled(post, delivered=2)
        await rig.befriend("ann", "eve")
        await rig.posts.edit(post.id, b'{"text":"better"}', now_ms())
        await rig.settled(post, delivered=4)
        await rig.posts.delete(post.id, now_ms())
        await rig.settled(post, delivered=6)
    by_type = {type_: set() for type_ in types(receiver)}
    for request in receiver.requests:
        by_type[request.json()["type"]].add(request.json()["recipient"])
    assert by_type == {f"post.{word}": {"bob", "cid"} for word in ("created", "updated", "deleted")}
    assert await rig.inboxes(["bob", "dan", "eve"]) == {
        "bob": ["c1", "u2", "d3"],
        "dan": [],
        "eve": [],
    }


async def test_a_deletion_cancels_what_waits_in_the_store_and_what_waits_in_memory(
    rig: Rig, receiver: Receiver
):
    """One friend's delivery waits for its retry, another's for a token of its endpoint's rate."""
    late, slow = users_of(0, 2)
    await rig.befriend("ann", late, slow)
    async with Receiver(status(500)) as failing:
        await rig.register(late, failing.url, retry_schedule_s=(600,))
        await rig.register(slow, receiver.url, rate_per_s=1)
        async with rig.working() as worker:
            first = await rig.post("ann")
            await rig.settled(first, delivered=1, retrying=1)
            await rig.posts.delete(first.id, now_ms())
            await wait_until(lambda: len(failing.requests) == 2)
            second = await rig.post("ann")
            await wait_until(lambda: worker.stats.lanes and worker.stats.lanes.queued == 2)
            await rig.posts.delete(second.id, now_ms())
            await rig.settled(first, cancelled=1, delivered=3)
            await rig.settled(second, cancelled=1, delivered=3, timeout_s=8)
    by_post = [r.json() for r in receiver.requests if r.json()["data"]["post"]["id"] == second.id]
    assert [body["type"] for body in by_post] == ["post.deleted"]
    await rig.places()


async def test_an_endpoint_that_is_deleted_takes_with_it_what_waits_for_it(
    rig: Rig, receiver: Receiver
):
    await rig.befriend("ann", "bob")
    endpoint = await rig.register("bob", receiver.url, rate_per_s=0.2)
    async with rig.working() as worker:
        posts = [await rig.post("ann") for _ in range(3)]
        await wait_until(lambda: worker.stats.lanes and worker.stats.lanes.queued == 2)
        await rig.endpoints.delete(endpoint.id)
        for post in posts[1:]:
            await rig.settled(post, suppressed=1)
        late = await rig.post("ann")
        await rig.settled(late)
    assert len(receiver.requests) == 1


async def test_an_endpoint_deleted_while_its_request_is_under_way_ends_by_that_outcome(
    rig: Rig, receiver: Receiver
):
    gate = asyncio.Event()
    await rig.befriend("ann", "bob")
    endpoint = await rig.register("bob", receiver.url)
    receiver.script.append(gated(gate, status(500)))
    async with rig.working():
        post = await rig.post("ann")
        await wait_until(lambda: receiver.requests)
        await rig.endpoints.delete(endpoint.id)
        gate.set()
        await rig.settled(post, suppressed=1)
    assert len(receiver.requests) == 1
    await rig.places()
    await check_keys(rig.store)
