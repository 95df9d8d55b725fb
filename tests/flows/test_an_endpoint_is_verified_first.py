"""An address gets nothing but challenges until it has echoed one: so nobody is sent what they did
not ask for."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.domain.signature import verify
from app.store.client import Store
from tests.flows.service import Service, serve
from tests.receivers import Receiver, status
from tests.wait import wait_until

QUICK = {"verify_endpoints": True, "verify_schedule_s": "0.1,0.1", "challenges_per_host_max": 1_000}


@pytest.fixture
async def verifying(store: Store) -> AsyncIterator[Service]:
    async with serve(store, **QUICK) as service:
        await service.befriend(("alice", "bob"))
        yield service


async def endpoint(service: Service, id_: str) -> Any:
    return await service.call("GET", f"/endpoints/{id_}")


async def comes_to(service: Service, id_: str, state: str, **verification: object) -> Any:
    async def is_there() -> Any:
        found = await endpoint(service, id_)
        told = found["verification"] or {}
        is_so = all(told.get(name) == value for name, value in verification.items())
        return found if found["state"] == state and is_so else None

    return await wait_until(is_there)


def types(receiver: Receiver) -> list[str]:
    return [request.event()["type"] for request in receiver.requests]


async def test_a_receiver_that_echoes_is_sent_what_has_waited_and_what_comes(verifying: Service):
    async with Receiver(default=status(404)) as receiver:
        made = await verifying.register("bob", receiver.url)
        assert made["state"] == "unverified"
        assert made["verification"] == {"challenges": 0, "last_error": None, "next_at": None}
        posts = [await verifying.post("alice") for _ in range(3)]
        for post in posts:
            held = await verifying.settled(post["id"], "bob", "pending")
            assert held["attempts"] == 0
        await comes_to(verifying, made["id"], "unverified", challenges=3, next_at=None)
        assert types(receiver) == ["endpoint.verify"] * 3

        receiver.echoes, receiver.default = True, status(200)
        attempt = await verifying.call("POST", f"/endpoints/{made['id']}:verify")
        assert (attempt["status"], attempt["error"]) == (200, None)
        found = await comes_to(verifying, made["id"], "active")
        assert found["verification"] is None
        posts.append(await verifying.post("alice"))
        for post in posts:
            there = await verifying.settled(post["id"], "bob", "delivered")
            assert there["attempts"] == 1
    assert types(receiver)[3:] == ["endpoint.verify", *["post.created"] * 4]


async def test_one_that_echoes_at_once_is_verified_without_a_call(verifying: Service):
    async with Receiver(echoes=True) as receiver:
        made = await verifying.register("bob", receiver.url)
        post = await verifying.post("alice")
        await verifying.settled(post["id"], "bob", "delivered")
        assert (await endpoint(verifying, made["id"]))["state"] == "active"
    assert types(receiver) == ["endpoint.verify", "post.created"]
    challenge, _ = receiver.requests
    assert verify(made["secret"], challenge.headers, challenge.body, challenge.at_ms / 1000)
    data = challenge.json()["data"]
    assert (data["endpoint"], len(data["challenge"])) == (made["id"], 43)
    assert challenge.headers["webhook-id"].startswith("verify-")


@pytest.mark.parametrize("method", ["GET", "rest"])
async def test_a_challenge_goes_the_way_of_the_endpoint(verifying: Service, method: str):
    async with Receiver(echoes=True) as receiver:
        made = await verifying.register("bob", receiver.url + "?own=1", method=method)
        await comes_to(verifying, made["id"], "active")
    assert receiver.requests[0].method == ("GET" if method == "GET" else "POST")


async def test_an_answer_that_does_not_echo_verifies_nothing(verifying: Service):
    async with Receiver() as receiver:
        made = await verifying.register("bob", receiver.url)
        found = await comes_to(verifying, made["id"], "unverified", challenges=3)
        assert found["verification"] == {
            "challenges": 3,
            "last_error": "challenge",
            "next_at": None,
        }
        asked = [request.json()["data"]["challenge"] for request in receiver.requests]
        assert len(set(asked)) == 3
        path = f"/endpoints/{made['id']}"
        for body in (
            json.dumps({"challenge": asked[-1]}).encode(),  # an earlier one
            receiver.requests[0].body,
            b'{"challenge":"' + b"x" * 2_000,
        ):
            receiver.default = status(200, body=body)
            attempt = await verifying.call("POST", f"{path}:verify")
            assert (attempt["status"], attempt["error"]) == (200, "challenge")
        for code in (301, 410, 500):
            receiver.default = status(code)
            attempt = await verifying.call("POST", f"{path}:verify")
            assert attempt["error"] == f"http_{code // 100}xx"
        found = await comes_to(verifying, made["id"], "unverified", challenges=9)
        assert (found["disabled_reason"], found["consecutive_failures"]) == (None, 0)
        log = (await verifying.call("GET", f"{path}/attempts"))["items"]
        assert [one["attempt"] for one in log] == [9, 8, 7, 6, 5, 4, 3, 2, 1]
        assert {one["delivery"][:7] for one in log} == {"verify-"}


async def test_nothing_goes_round_the_challenge(verifying: Service):
    """No call that sends, and none that makes an endpoint active."""
    async with Receiver() as receiver:
        made = await verifying.register("bob", receiver.url)
        post = await verifying.post("alice")
        held = await verifying.settled(post["id"], "bob", "pending")
        path = f"/v1/endpoints/{made['id']}"
        for call in (":ping", ":enable"):
            answer = await verifying.http.post(path + call)
            assert answer.status_code == 409
            assert ":verify" in answer.json()["detail"]
        for change in ({"state": "active"}, {"verification": None}):
            assert (await verifying.http.patch(path, json=change)).status_code == 422
        assert (await verifying.http.post(f"/v1/deliveries/{held['id']}:retry")).is_success
        body = {"since": "2020-01-01T00:00:00Z"}
        assert (await verifying.http.post(path + ":recover", json=body)).is_success
        await verifying.http.patch(path, json={"url": receiver.url, "description": "mine"})
        await verifying.http.post(path + "/secret:rotate", json={})
        await verifying.post("alice")

        async def all_wait() -> bool:
            items = (await verifying.deliveries(post["id"], channel="webhook"))["items"]
            return all(item["parked"] for item in items)

        await wait_until(all_wait)
        assert (await verifying.delivery(post["id"], "bob", "webhook"))["attempts"] == 0
        assert (await endpoint(verifying, made["id"]))["state"] == "unverified"
    assert set(types(receiver)) == {"endpoint.verify"}


async def test_an_endpoint_that_is_aimed_elsewhere_is_verified_again(verifying: Service):
    async with Receiver(echoes=True) as first, Receiver() as stranger:
        made = await verifying.register("bob", first.url)
        await comes_to(verifying, made["id"], "active")
        path = f"/endpoints/{made['id']}"
        same = await verifying.call("PATCH", path, {"url": first.url, "rate_per_s": 50})
        assert same["state"] == "active"

        aimed = await verifying.call("PATCH", path, {"url": stranger.url})
        assert (aimed["state"], aimed["url"]) == ("unverified", stranger.url)
        post = await verifying.post("alice")
        await comes_to(verifying, made["id"], "unverified", challenges=3, last_error="challenge")
        assert set(types(stranger)) == {"endpoint.verify"}
        assert len(types(first)) == 1

        back = await verifying.call("PATCH", path, {"url": first.url})
        assert back["state"] == "unverified"
        assert back["verification"]["challenges"] == 0
        await verifying.settled(post["id"], "bob", "delivered")
    assert types(first) == ["endpoint.verify", "endpoint.verify", "post.created"]
    assert set(types(stranger)) == {"endpoint.verify"}


async def test_one_that_is_disabled_and_aimed_elsewhere_comes_back_by_its_echo(verifying: Service):
    async with Receiver(echoes=True, default=status(410)) as gone, Receiver(echoes=True) as well:
        made = await verifying.register("bob", gone.url)
        await comes_to(verifying, made["id"], "active")
        await verifying.post("alice")
        await comes_to(verifying, made["id"], "disabled")
        waits = await verifying.post("alice")
        await verifying.settled(waits["id"], "bob", "pending")
        await verifying.call("PATCH", f"/endpoints/{made['id']}", {"url": well.url})
        await verifying.settled(waits["id"], "bob", "delivered")
        assert (await endpoint(verifying, made["id"]))["disabled_reason"] is None


async def test_the_state_is_shown_where_states_are(verifying: Service):
    async with Receiver() as receiver:
        made = await verifying.register("bob", receiver.url)
        [listed] = (await verifying.call("GET", "/users/bob/endpoints"))["items"]
        assert (listed["id"], listed["state"]) == (made["id"], "unverified")
        assert "verification" in listed
        stats = await verifying.call("GET", "/stats")
        assert stats["endpoints"] == {"active": 0, "open": 0, "disabled": 0, "unverified": 1}
        await verifying.call("DELETE", f"/endpoints/{made['id']}")
        stats = await verifying.call("GET", "/stats")
        assert stats["endpoints"]["unverified"] == 0


async def test_a_key_may_ask_for_it_where_the_settings_do_not(single_store: Store):
    async with (
        serve(single_store, verify_schedule_s="") as service,
        Receiver() as receiver,
        Receiver() as other,
    ):
        made = await service.call(
            "POST", "/keys", {"name": "shop", "scopes": ["admin"], "verify_endpoints": True}
        )
        assert made["verify_endpoints"] is True
        [shown] = [k for k in (await service.call("GET", "/keys"))["items"] if k["name"] == "shop"]
        assert shown["verify_endpoints"] is True
        shops = {"authorization": f"Bearer {made['key']}"}
        plain = await service.register("bob", receiver.url)
        assert (plain["state"], plain["verification"]) == ("active", None)
        body = {"user": "eve", "url": receiver.url}
        theirs = await service.call("POST", "/endpoints", body, **shops)
        assert theirs["state"] == "unverified"

        # Whoever aims what was made so elsewhere; and who aims what was not, with this key.
        ours = await service.call("POST", "/endpoints", body)
        receiver.echoes = True
        assert (await service.call("POST", f"/endpoints/{theirs['id']}:verify"))["error"] is None
        await comes_to(service, theirs["id"], "active")
        change = {"url": other.url}
        aimed = await service.call("PATCH", f"/endpoints/{theirs['id']}", change)
        assert aimed["state"] == "unverified"
        aimed = await service.call("PATCH", f"/endpoints/{ours['id']}", change)
        assert aimed["state"] == "active"
        change = {"url": receiver.url}
        aimed = await service.call("PATCH", f"/endpoints/{ours['id']}", change, **shops)
        assert aimed["state"] == "unverified"


async def test_without_setting_and_key_nothing_is_challenged(single_store: Store):
    async with serve(single_store) as service, Receiver() as receiver, Receiver() as other:
        await service.befriend(("alice", "bob"))
        made = await service.register("bob", receiver.url)
        assert made["state"] == "active"
        await service.settled((await service.post("alice"))["id"], "bob", "delivered")
        await service.call("PATCH", f"/endpoints/{made['id']}", {"url": other.url})
        await service.settled((await service.post("alice"))["id"], "bob", "delivered")
        answer = await service.http.post(f"/v1/endpoints/{made['id']}:verify")
        assert answer.status_code == 409
    assert types(receiver) + types(other) == ["post.created"] * 2
