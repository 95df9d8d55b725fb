"""All that a service sends goes out by its egress proxy, and an outage of that is nobody else's."""

import logging
from typing import Any

import pytest

from app.store.client import Store
from tests.connect_proxy import HANG, ConnectProxy
from tests.flows.service import Service, serve
from tests.receivers import Receiver, status
from tests.wait import wait_until

SOON = {"defer_s": 0.05, "breaker_failures": 1_000}
# So soon is an endpoint disabled that fails of its own.
AT_ONCE = {"disable_after_s": 0.001, "disable_days": 1, "retry_schedule_s": "0.01,0.01,0.01"}


async def endpoint_of(service: Service, url: str) -> str:
    await service.befriend(("alice", "bob"))
    return (await service.register("bob", url))["id"]


async def waiting(service: Service, post: str, error: str) -> Any:
    """Bob's delivery, once it has met this error and waits for its next attempt."""

    async def met() -> Any:
        found = await service.delivery(post, "bob", "webhook")
        return found if found is not None and found.get("last_error") == error else None

    return await wait_until(met)


async def test_posts_pings_and_retries_go_out_by_the_proxy_alone(store: Store):
    async with (
        ConnectProxy() as proxy,
        Receiver(status(500)) as receiver,
        serve(store, egress_proxy=proxy.url) as service,
    ):
        endpoint = await endpoint_of(service, receiver.url)
        post = await service.post("alice")
        delivered = await service.settled(post["id"], "bob", "delivered")
        assert delivered["attempts"] == 2
        assert (await service.call("POST", f"/endpoints/{endpoint}:ping"))["status"] == 200
        assert len(receiver.requests) == 3
        assert set(proxy.asked) == {f"127.0.0.1:{receiver.port}"}
        assert receiver.connections == len(proxy.asked)


async def test_an_outage_of_the_proxy_costs_no_attempt_and_no_endpoint(
    single_store: Store, caplog: pytest.LogCaptureFixture
):
    proxy = ConnectProxy(login="me:hush-hush")
    await proxy.start()
    url = proxy.url.replace("//", "//me:hush-hush@")
    async with Receiver() as receiver, serve(single_store, egress_proxy=url, **SOON) as service:
        with caplog.at_level(logging.DEBUG):
            endpoint = await endpoint_of(service, receiver.url)
            await proxy.stop()
            posts = [await service.post("alice") for _ in range(3)]
            for post in posts:
                held = await waiting(service, post["id"], "proxy")
                assert (held["state"], held["attempts"]) == ("pending", 0)
                assert "next_attempt_at" in held
            found = await service.call("GET", f"/endpoints/{endpoint}")
            assert (found["state"], found["consecutive_failures"]) == ("active", 0)
            assert found["first_failure_at"] is None
            [told, *_] = (await service.call("GET", f"/endpoints/{endpoint}/attempts"))["items"]
            assert (told["error"], told["status"]) == ("proxy", None)
            assert told["response"] == "the egress proxy cannot be reached"
            assert receiver.connections == 0

            await proxy.start()
            for post in posts:
                there = await service.settled(post["id"], "bob", "delivered", timeout_s=10)
                assert there["attempts"] == 1
        assert [request.attempt for request in receiver.requests] == ["1"] * 3
    await proxy.stop()
    messages = [record.getMessage() for record in caplog.records]
    assert "the egress proxy cannot be used: nothing is sent meanwhile" in messages
    assert "the egress proxy can be used again" in messages
    assert "hush-hush" not in repr([vars(record) for record in caplog.records])


async def test_a_proxy_that_refuses_our_password_disables_nobody(single_store: Store):
    async with (
        ConnectProxy(login="me:right") as proxy,
        Receiver() as receiver,
        serve(single_store, egress_proxy=proxy.url, **SOON | AT_ONCE) as service,
    ):
        endpoint = await endpoint_of(service, receiver.url)
        post = await service.post("alice")
        held = await waiting(service, post["id"], "proxy")
        assert (held["state"], held["attempts"]) == ("pending", 0)
        asked = len(proxy.asked)
        ping = await service.call("POST", f"/endpoints/{endpoint}:ping")
        assert (ping["error"], len(proxy.asked)) == ("proxy", asked + 1)
        assert (await service.call("GET", f"/endpoints/{endpoint}"))["state"] == "active"
        assert receiver.connections == 0


@pytest.mark.parametrize("does", ["403", "407 of smokescreen", "502", "nothing", HANG])
async def test_tunnels_that_are_not_made_spend_attempts_and_disable_nobody(
    single_store: Store, does: str
):
    async with (
        ConnectProxy(does=does) as proxy,
        Receiver(default=status(500)) as receiver,
        serve(
            single_store, egress_proxy=proxy.url, request_deadline_s=0.15, **SOON | AT_ONCE
        ) as service,
    ):
        endpoint = await endpoint_of(service, receiver.url)
        post = await service.post("alice")
        dead = await service.settled(post["id"], "bob", "dead")
        assert (dead["attempts"], dead["last_error"]) == (4, "tunnel")
        found = await service.call("GET", f"/endpoints/{endpoint}")
        assert (found["state"], found["consecutive_failures"]) == ("active", 4)
        assert receiver.connections == 0

        proxy.does = ""
        await service.post("alice")  # the receiver's own failures disable it as ever

        async def is_disabled() -> bool:
            return (await service.call("GET", f"/endpoints/{endpoint}"))["state"] == "disabled"

        await wait_until(is_disabled)


async def test_what_the_guard_forbids_is_forbidden_behind_a_proxy_as_well(single_store: Store):
    async with ConnectProxy() as proxy, Receiver() as receiver:
        async with serve(single_store, egress_proxy=proxy.url) as service:
            endpoint = await endpoint_of(service, receiver.url)
        settings = {"egress_proxy": proxy.url, "allow_cidrs": "", "egress_proxy_resolves": True}
        async with serve(single_store, **settings) as service:
            for url in (receiver.url, f"http://localhost:{receiver.port}/"):
                body = {"user": "bob", "url": url}
                answer = await service.http.post("/v1/endpoints", json=body)
                assert answer.status_code == 422, answer.text
            post = await service.post("alice")
            dead = await service.settled(post["id"], "bob", "dead")
            assert dead["last_error"] == "blocked"

            proxy.routes["only.there"] = "127.0.0.1"
            there = await service.register("bob", f"http://only.there:{receiver.port}/")
            assert (await service.call("POST", f"/endpoints/{there['id']}:ping"))["status"] == 200
        assert proxy.asked == [f"only.there:{receiver.port}"]
        assert endpoint != there["id"]
