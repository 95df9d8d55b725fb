"""The main path: a post, its friends, their webhooks and sockets, and what the ledger says."""

from standardwebhooks import Webhook

from tests.flows.service import Service, is_same
from tests.receivers import Receiver
from tests.wait import wait_until


async def test_a_friend_gets_a_signed_webhook_and_the_ledger_says_so(service: Service, receiver):
    await service.befriend(("alice", "bob"))
    endpoint = await service.register("bob", receiver.url)
    post = await service.post("alice")

    delivery = await service.settled(post["id"], "bob", "delivered")
    assert delivery["endpoint"] == endpoint["id"]
    assert delivery["attempts"] == 1
    assert delivery["last_status"] == 200

    (request,) = receiver.requests
    assert request.method == "POST"
    assert request.headers["webhook-id"] == delivery["id"]
    assert request.headers["moments-attempt"] == "1"
    body = request.json()
    assert body["type"] == "post.created"
    assert (body["recipient"], body["offset"]) == ("bob", 1)
    assert is_same(body["data"]["post"], post)
    assert Webhook(endpoint["secret"]).verify(request.body, request.headers) == body


async def test_a_friend_with_a_socket_gets_a_frame(service: Service):
    await service.befriend(("alice", "bob"))
    async with service.socket("bob") as socket:
        assert socket.hello["user"] == "bob"
        assert (socket.hello["head"], socket.hello["cursor"]) == (0, 0)
        post = await service.post("alice")
        frame = await socket.next()
        assert (frame["type"], frame["offset"]) == ("post.created", 1)
        assert is_same(frame["post"], post)
        await service.settled(post["id"], "bob", "delivered", "socket")


async def test_a_socket_may_choose_msgpack(service: Service):
    await service.befriend(("alice", "bob"))
    async with service.socket("bob", encoding="msgpack") as socket:
        post = await service.post("alice")
        frame = await socket.next()
        assert (frame["type"], frame["offset"]) == ("post.created", 1)
        assert is_same(frame["post"], post)


async def test_whoever_has_neither_still_has_the_post_in_the_inbox(service: Service):
    await service.befriend(("alice", "bob"))
    post = await service.post("alice")
    assert (await service.settled(post["id"], "bob", "pending", "socket"))["attempts"] == 0
    feed = await service.call("GET", "/users/bob/feed")
    (item,) = feed["items"]
    assert item["offset"] == 1
    assert is_same(item["post"], post)
    assert feed["cursor"] == 0

    await service.call("PUT", "/users/bob/cursor", {"offset": 1})
    await service.settled(post["id"], "bob", "delivered", "socket")


async def test_friends_and_followers_get_it_once_each_and_nobody_else_does(service: Service):
    await service.befriend(("alice", "bob"), ("alice", "carol"))
    await service.call("PUT", "/users/bob/follows/alice")  # friend and follower
    await service.call("PUT", "/users/dave/follows/alice")
    await service.call("PUT", "/users/alice/follows/erin")  # not the other way round
    await service.call("PUT", "/users/carol/blocks/alice")
    post = await service.post("alice")

    async def fanned_out():
        found = await service.deliveries(post["id"])
        return found if found["fanned_out"] else None

    found = await wait_until(fanned_out)
    assert sorted(item["recipient"] for item in found["items"]) == ["bob", "dave"]
    assert found["counts"]["pending"] == 2


async def test_an_author_may_narrow_the_audience(service: Service):
    await service.befriend(("alice", "bob"), ("alice", "carol"))
    only = await service.post("alice", audience={"only": ["carol", "stranger"]})
    rest = await service.post("alice", audience={"except": ["carol"]})
    await service.settled(only["id"], "carol", "pending", "socket")
    await service.settled(rest["id"], "bob", "pending", "socket")
    assert [i["recipient"] for i in (await service.deliveries(only["id"]))["items"]] == ["carol"]
    assert [i["recipient"] for i in (await service.deliveries(rest["id"]))["items"]] == ["bob"]


async def test_an_edit_and_a_deletion_go_to_exactly_those_the_post_went_to(
    service: Service, receiver: Receiver
):
    await service.befriend(("alice", "bob"))
    await service.register("bob", receiver.url)
    async with service.socket("bob") as socket:
        post = await service.post("alice")
        first = await socket.next()
        await service.befriend(("alice", "carol"))  # too late for this post

        edited = await service.call("PATCH", f"/posts/{post['id']}", {"data": {"text": "better"}})
        second = await socket.next()
        # A deletion takes back what has not been sent yet, and sockets are faster.
        await wait_until(lambda: len(receiver.requests) == 2)
        await service.call("DELETE", f"/posts/{post['id']}")
        third = await socket.next()

    types = [frame["type"] for frame in (first, second, third)]
    assert types == ["post.created", "post.updated", "post.deleted"]
    assert [frame["offset"] for frame in (first, second, third)] == [1, 2, 3]
    assert edited["version"] == 2
    assert second["post"]["data"] == {"text": "better"}
    assert third["post"]["deleted"] is True
    await wait_until(lambda: len(receiver.requests) == 3)
    assert [request.json()["type"] for request in receiver.requests] == types
    items = (await service.deliveries(post["id"]))["items"]
    assert {item["recipient"] for item in items} == {"bob"}


async def test_an_author_may_name_the_type_and_an_endpoint_the_types_it_wants(
    service: Service, receiver: Receiver
):
    await service.befriend(("alice", "bob"))
    await service.register("bob", receiver.url, types=["commit.*"])
    await service.post("alice", type="task")
    commit = await service.post("alice", type="commit")
    await service.settled(commit["id"], "bob", "delivered")
    assert [request.json()["type"] for request in receiver.requests] == ["commit.created"]


async def test_the_same_idempotency_key_gives_the_same_post(service: Service):
    key = {"Idempotency-Key": "once"}
    body = {"author": "alice", "data": {"n": 1}}
    first = await service.call("POST", "/posts", body, **key)
    assert await service.call("POST", "/posts", body, **key) == first
