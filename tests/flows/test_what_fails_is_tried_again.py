"""Retries, dead letters, back-pressure, and sending again."""

import time

from tests.flows.service import Service
from tests.receivers import Receiver, hang, status
from tests.wait import wait_until


async def test_a_delivery_that_fails_is_made_again_with_the_same_id(service: Service):
    async with Receiver(status(500), status(502)) as receiver:
        await service.befriend(("alice", "bob"))
        endpoint = await service.register("bob", receiver.url)
        post = await service.post("alice")
        delivery = await service.settled(post["id"], "bob", "delivered")
        assert delivery["attempts"] == 3
        assert {r.headers["webhook-id"] for r in receiver.requests} == {delivery["id"]}
        assert [r.headers["moments-attempt"] for r in receiver.requests] == ["1", "2", "3"]

    log = (await service.call("GET", f"/deliveries/{delivery['id']}"))["log"]
    assert [entry["status"] for entry in log] == [500, 502, 200]
    attempts = await service.call("GET", f"/endpoints/{endpoint['id']}/attempts")
    assert [entry["status"] for entry in attempts["items"]] == [200, 502, 500]


async def test_after_the_last_attempt_it_is_a_dead_letter_which_can_be_replayed(service: Service):
    async with Receiver(default=status(500)) as receiver:
        await service.befriend(("alice", "bob"))
        await service.register("bob", receiver.url)
        post = await service.post("alice")
        dead = await service.settled(post["id"], "bob", "dead")
        assert (dead["attempts"], dead["last_status"]) == (4, 500)
        letters = (await service.call("GET", "/dead-letters"))["items"]
        assert [letter["id"] for letter in letters] == [dead["id"]]

        receiver.default = status(200)
        answer = await service.call("POST", "/dead-letters:replay", {})
        assert answer == {"scheduled": 1}
        again = await service.settled(post["id"], "bob", "delivered")
        assert again["attempts"] == 5
        assert (await service.call("GET", "/dead-letters"))["items"] == []


async def test_a_receiver_that_never_answers_costs_no_more_than_the_deadline(service: Service):
    async with Receiver(default=hang()) as receiver:
        await service.befriend(("alice", "bob"))
        await service.register("bob", receiver.url, retry_schedule_s=[])
        post = await service.post("alice")
        dead = await service.settled(post["id"], "bob", "dead")
        assert (dead["attempts"], dead["last_error"]) == (1, "timeout")


async def test_410_disables_the_endpoint_and_what_comes_later_waits_for_it(service: Service):
    async with Receiver(status(410)) as receiver:
        await service.befriend(("alice", "bob"))
        endpoint = await service.register("bob", receiver.url)
        first = await service.post("alice")
        await service.settled(first["id"], "bob", "dead")
        found = await service.call("GET", f"/endpoints/{endpoint['id']}")
        assert (found["state"], found["disabled_reason"]) == ("disabled", "gone")
        second = await service.post("alice")
        await service.settled(second["id"], "bob", "pending")
        assert len(receiver.requests) == 1

        await service.call("POST", f"/endpoints/{endpoint['id']}:enable")
        await service.settled(second["id"], "bob", "delivered")


async def test_429_waits_as_long_as_asked_and_spends_no_attempt(service: Service):
    async with Receiver(status(429, retry_after="1")) as receiver:
        await service.befriend(("alice", "bob"))
        await service.register("bob", receiver.url)
        post = await service.post("alice")
        await wait_until(lambda: receiver.requests)
        asked_at = time.monotonic()
        delivery = await service.settled(post["id"], "bob", "delivered")
        assert time.monotonic() - asked_at > 0.9
        assert delivery["attempts"] == 1


async def test_a_deletion_cancels_what_was_not_delivered(service: Service):
    async with Receiver(default=status(500)) as receiver:
        await service.befriend(("alice", "bob"))
        await service.register("bob", receiver.url, retry_schedule_s=[600])
        post = await service.post("alice")
        await service.settled(post["id"], "bob", "retrying")
        await service.call("DELETE", f"/posts/{post['id']}")
        await service.settled(post["id"], "bob", "cancelled")


async def test_any_delivery_can_be_sent_again_at_once(service: Service, receiver: Receiver):
    await service.befriend(("alice", "bob"))
    await service.register("bob", receiver.url)
    post = await service.post("alice")
    delivery = await service.settled(post["id"], "bob", "delivered")
    await service.call("POST", f"/deliveries/{delivery['id']}:retry")
    await wait_until(lambda: len(receiver.requests) == 2)
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert second.headers["moments-attempt"] == "2"


async def test_a_ping_is_sent_now_and_its_outcome_answered(service: Service, receiver: Receiver):
    endpoint = await service.register("bob", receiver.url)
    outcome = await service.call("POST", f"/endpoints/{endpoint['id']}:ping")
    assert outcome["status"] == 200
    (request,) = receiver.requests
    assert request.json()["type"] == "ping"


async def test_recover_sends_all_that_was_not_delivered_since_a_time(service: Service):
    async with Receiver(default=status(500)) as receiver:
        await service.befriend(("alice", "bob"))
        endpoint = await service.register("bob", receiver.url, retry_schedule_s=[])
        posts = [await service.post("alice") for _ in range(3)]
        for post in posts:
            await service.settled(post["id"], "bob", "dead")
        receiver.default = status(200)
        since = {"since": posts[0]["created_at"]}
        answer = await service.call("POST", f"/endpoints/{endpoint['id']}:recover", since)
        assert answer == {"scheduled": 3}
        for post in posts:
            await service.settled(post["id"], "bob", "delivered")
