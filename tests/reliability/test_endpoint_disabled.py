"""The owner of an endpoint that is disabled is told, once, on every way that is left to them."""

from app.store import keys
from tests.flows.service import Service, serve
from tests.receivers import Receiver, status
from tests.store.service import Sender, users_of
from tests.store.service import Service as Scene
from tests.wait import wait_until


async def test_the_owner_is_told_in_inbox_and_socket_and_at_their_other_endpoints(store):
    async with serve(store) as service, Receiver(default=status(410)) as gone, Receiver() as well:
        await service.befriend(("alice", "bob"))
        endpoint = await service.register("bob", gone.url, types=["*"])
        await service.register("bob", well.url, types=["endpoint.*"])
        async with service.socket("bob") as socket:
            await service.post("alice")
            frames = await socket.take(2)
            assert [frame["type"] for frame in frames] == ["post.created", "endpoint.disabled"]
            assert await socket.is_silent()
        post = frames[1]["post"]
        assert post["type"] == "endpoint.disabled"
        assert post["author"] == "/moments"
        told = post["data"]["endpoint"]
        assert (told["id"], told["url"]) == (endpoint["id"], gone.url)
        assert (told["disabled_reason"], told["consecutive_failures"]) == ("gone", 1)

        await wait_until(lambda: well.requests)
        (request,) = well.requests
        assert request.json()["type"] == "endpoint.disabled"
        assert (request.json()["recipient"], request.json()["offset"]) == ("bob", 2)
        feed = await service.call("GET", "/users/bob/feed?after=0")
        assert [item["type"] for item in feed["items"]] == ["post.created", "endpoint.disabled"]
        assert len(gone.requests) == 1  # it is not told of itself

        page = await service.deliveries(post["id"], channel="webhook")
        assert [item["endpoint"] for item in page["items"]] != [endpoint["id"]]
        assert [item["state"] for item in page["items"]] == ["delivered"]


async def test_each_disabling_is_told_once(single_store):
    async with serve(single_store) as service, Receiver(default=status(410)) as gone:
        await service.befriend(("alice", "bob"))
        endpoint = await service.register("bob", gone.url)
        for times in (1, 2):
            post = await service.post("alice")
            await service.settled(post["id"], "bob", "dead")
            await told(service, "bob", times)
            later = await service.post("alice")  # changes nothing more
            await service.settled(later["id"], "bob", "pending")
            await service.call("POST", f"/endpoints/{endpoint['id']}:enable")
            gone.default = status(200)
            await service.settled(later["id"], "bob", "delivered")
            gone.default = status(410)
        feed = await service.call("GET", "/users/bob/feed?after=0")
        assert [item["type"] for item in feed["items"]].count("endpoint.disabled") == 2


async def test_nobody_else_is_told_and_nobody_can_say_so_themselves(single_store):
    async with serve(single_store) as service, Receiver(default=status(410)) as gone:
        await service.befriend(("alice", "bob"), ("alice", "carol"), ("bob", "carol"))
        await service.register("bob", gone.url)
        await service.post("alice")
        await told(service, "bob", 1)
        feed = await service.call("GET", "/users/carol/feed?after=0")
        assert [item["type"] for item in feed["items"]] == ["post.created"]
        for forged in ({"type": "endpoint.disabled"}, {"author": "/moments"}):
            body = {"author": "alice", "data": {}, **forged}
            assert (await service.http.post("/v1/posts", json=body)).status_code == 422


async def told(service: Service, user: str, times: int) -> None:
    async def is_told() -> bool:
        feed = await service.call("GET", f"/users/{user}/feed?after=0")
        return [i["type"] for i in feed["items"]].count("endpoint.disabled") == times

    await wait_until(is_told)


NOTICE = ("0" * 16 + "01", b"c1." + b"0" * 16 + b"01", "/moments", "endpoint.disabled", b"{}", b"")


async def test_the_step_that_disables_is_the_one_that_posts_whatever_comes_twice(store):
    endpoint = await Scene.on(store).endpoint(users_of(1, 1)[0])
    sender = await Sender(store, 1).take()
    disabling = (endpoint.id, ["state", "disabled"], 5, NOTICE)
    for batch_id in (b"one", b"one", b"two"):  # its answer was lost; then one that says it again
        await sender.record(health=[disabling], batch_id=batch_id)
    assert len(await store.execute("XRANGE", keys.posts(1), "-", "+")) == 1
    assert await store.execute("TTL", keys.post(1, NOTICE[0])) > 0


async def test_a_former_owner_and_a_deleted_endpoint_post_nothing(store):
    scene, (one, other) = Scene.on(store), users_of(1, 2)
    endpoint, deleted = await scene.endpoint(one), await scene.endpoint(other)
    await scene.endpoints.delete(deleted.id)
    former = await Sender(store, 1).take()
    owner = await Sender(store, 1, token=b"two").take()
    await former.record(health=[(endpoint.id, ["state", "disabled"], 5, NOTICE)])
    await owner.record(health=[(deleted.id, ["state", "disabled"], 5, NOTICE)])
    assert await store.execute("EXISTS", keys.posts(1)) == 0
