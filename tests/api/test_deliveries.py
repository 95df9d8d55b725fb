from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from app.clock import now_ms
from app.domain.delivery import State
from app.domain.ids import shard_of_id
from app.domain.shard import shard_of
from app.store import keys
from app.store.nodes import Node
from app.wire import stream_fields
from tests.api.conftest import SHARDS, Api
from tests.api.ledgered import (
    DUE_MS,
    log_attempt,
    make_endpoint,
    places_of,
    post_to,
    settle,
)

NO_DELIVERY = "01k2v3w4x5y6z7a800-1-0-0123456700"


async def in_every_state(api: Api) -> tuple[str, dict[State, str]]:
    """A post to eight users with an endpoint each, and its deliveries by the state they are in."""
    endpoints = {state: await make_endpoint(api, f"u-{state.name}") for state in State}
    post = await post_to(api, *(f"u-{state.name}" for state in State))
    return post, {state: await settle(api, post, endpoints[state], state) for state in State}


async def read(api: Api, path: str, **params: object) -> dict:
    answer = await api.admin.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_delivery_says_where_it_is(api: Api):
    post, deliveries = await in_every_state(api)
    items = (await read(api, f"/v1/posts/{post}/deliveries"))["items"]
    found = {item["id"]: item for item in items if item["channel"] == "webhook"}
    assert set(found) == set(deliveries.values())
    for state, id_ in deliveries.items():
        item = found[id_]
        assert (item["state"], item["parked"]) == (state.word, state.is_parked)
        assert (item["post"], item["recipient"]) == (post, f"u-{state.name}")
        assert item["endpoint"] == id_.rpartition("-")[2]
        assert await read(api, f"/v1/deliveries/{id_}") == {**item, "log": []}
    retrying = found[deliveries[State.RETRYING]]
    assert (retrying["attempts"], retrying["last_status"]) == (1, 500)
    assert retrying["last_error"] == "http_5xx"
    assert retrying["next_attempt_at"] == "2100-01-01T00:00:00.000Z"
    delivered = found[deliveries[State.DELIVERED]]
    assert delivered["last_status"] == 200
    assert not {"last_error", "next_attempt_at"} & set(delivered)


async def test_a_recipient_without_an_endpoint_has_a_socket_delivery(api: Api):
    post = await post_to(api, "bob")
    (item,) = (await read(api, f"/v1/posts/{post}/deliveries"))["items"]
    assert (item["channel"], item["state"], item["attempts"]) == ("socket", "pending", 0)
    assert "endpoint" not in item
    assert await read(api, f"/v1/deliveries/{item['id']}") == {**item, "log": []}
    await api.admin.put("/v1/users/bob/cursor", json={"offset": 1})
    item = await read(api, f"/v1/deliveries/{item['id']}")
    assert (item["state"], item["attempts"]) == ("delivered", 1)


async def test_counts_are_of_the_whole_post_whatever_is_asked_for(api: Api):
    post, _ = await in_every_state(api)
    await api.admin.put("/v1/users/u-DEAD/cursor", json={"offset": 1})
    expected = {  # eight webhooks, and eight sockets of which one has passed the offset
        "pending": 2 + 7,
        "retrying": 2,
        "delivered": 1 + 1,
        "dead": 1,
        "suppressed": 1,
        "cancelled": 1,
    }
    path = f"/v1/posts/{post}/deliveries"
    for query in ({}, {"state": "dead"}, {"channel": "socket"}, {"limit": 1}):
        assert (await read(api, path, **query))["counts"] == expected


@pytest.mark.parametrize("channel", [None, "webhook", "socket"])
async def test_deliveries_are_filtered_by_state_and_channel(api: Api, channel: str | None):
    post, _ = await in_every_state(api)
    path = f"/v1/posts/{post}/deliveries"
    by_channel = {} if channel is None else {"channel": channel}
    whole = (await read(api, path, **by_channel))["items"]
    assert {item["channel"] for item in whole} == ({channel} if channel else {"webhook", "socket"})
    for word in {state.word for state in State}:
        found = (await read(api, path, state=word, **by_channel))["items"]
        assert found == [item for item in whole if item["state"] == word]


async def test_pages_have_everything_once(api: Api):
    post, _ = await in_every_state(api)
    path = f"/v1/posts/{post}/deliveries"
    whole = (await read(api, path))["items"]
    assert len(whole) == 16
    for query in ({"limit": 1}, {"limit": 3}, {"limit": 5, "state": "pending"}):
        found, after = [], {}
        while after is not None:
            page = await read(api, path, **query, **after)
            assert len(page["items"]) <= query["limit"]
            found += page["items"]
            after = {"after": page["next"]} if page["next"] else None
        wanted = query.get("state")
        assert found == [item for item in whole if wanted in (None, item["state"])]


async def test_until_the_last_slice_a_post_is_not_fanned_out(api: Api):
    post = (await api.publish())["id"]
    before = await read(api, f"/v1/posts/{post}/deliveries")
    assert (before["fanned_out"], before["items"], before["next"]) == (False, [], None)
    assert set(before["counts"].values()) == {0}
    done = await post_to(api, "bob")
    assert (await read(api, f"/v1/posts/{done}/deliveries"))["fanned_out"] is True


async def test_a_delivery_has_its_own_attempts_the_oldest_first(api: Api):
    endpoint = await make_endpoint(api, "bob")
    first, second = await post_to(api, "bob"), await post_to(api, "bob")
    one, other = [f"{post}-1-0-{endpoint}" for post in (first, second)]
    for delivery, number, failed in ((one, 1, True), (other, 1, True), (one, 2, False)):
        await log_attempt(api, delivery, number, failed=failed)
    log = (await read(api, f"/v1/deliveries/{one}"))["log"]
    assert [(entry["delivery"], entry["attempt"]) for entry in log] == [(one, 1), (one, 2)]
    assert [(entry["status"], entry["error"]) for entry in log] == [(500, "http_5xx"), (200, None)]
    assert log[1] == {
        "delivery": one,
        "attempt": 2,
        "at": "2023-11-14T22:13:20.002Z",
        "status": 200,
        "error": None,
        "duration_ms": 4.0,
        "response": "ok",
    }


@pytest.mark.parametrize("state", list(State))
async def test_a_delivery_is_sent_again_whatever_its_state(single_api: Api, state: State):
    api = single_api
    endpoint = await make_endpoint(api, "bob")
    delivery = await settle(api, await post_to(api, "bob"), endpoint, state)
    answer = await api.admin.post(f"/v1/deliveries/{delivery}:retry")
    assert answer.status_code == 202
    assert answer.json()["id"] == delivery
    assert answer.json()["state"] in ("pending", "retrying")
    assert answer.json()["parked"] is False
    assert "next_attempt_at" not in answer.json()
    assert await places_of(api, delivery) == ["redeliveries"]
    again = await api.admin.post(f"/v1/deliveries/{delivery}:retry")
    assert again.status_code == 202
    assert await places_of(api, delivery) == ["redeliveries"]  # it is on its way: once is enough


async def test_a_socket_delivery_is_pushed_again_where_the_recipient_has_a_socket(api: Api):
    store, shard = api.services.store, shard_of("bob", SHARDS)
    await Node(store, SHARDS, "gateway").join(["bob"])
    post = await post_to(api, "bob")
    (item,) = (await read(api, f"/v1/posts/{post}/deliveries"))["items"]
    retried = await api.admin.post(f"/v1/deliveries/{item['id']}:retry")
    assert (retried.status_code, retried.json()["id"]) == (202, item["id"])
    entries = await store.execute("XRANGE", keys.sockets(shard, "gateway"), "-", "+")
    assert len(entries) == 2
    assert stream_fields(entries[1][1]) == {b"u": b"bob", b"n": b"1"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/v1/deliveries/{NO_DELIVERY}"),
        ("POST", f"/v1/deliveries/{NO_DELIVERY}:retry"),
        ("GET", "/v1/deliveries/01k2v3w4x5y6z7a800-1-0-3-7"),
        ("POST", "/v1/deliveries/01k2v3w4x5y6z7a800-1-0-3-7:retry"),
        ("GET", "/v1/deliveries/01k2v3w4x5y6z7a800-1-0-999999999-7"),
        ("GET", "/v1/deliveries/01k2v3w4x5y6z7azzz-1-0-01234567zz"),
        ("GET", "/v1/posts/01k2v3w4x5y6z7a800/deliveries"),
        ("GET", "/v1/posts/01k2v3w4x5y6z7azzz/deliveries"),
    ],
)
async def test_what_never_was_is_a_404(single_api: Api, method: str, path: str):
    assert (await single_api.admin.request(method, path)).status_code == 404


async def dead_letters(api: Api, user: str, number: int) -> tuple[str, list[str]]:
    endpoint = await make_endpoint(api, user)
    return endpoint, [
        await settle(api, await post_to(api, user), endpoint, State.DEAD) for _ in range(number)
    ]


async def test_dead_letters_are_listed_the_newest_first_in_pages(api: Api):
    endpoint, letters = await dead_letters(api, "bob", 3)
    _, others = await dead_letters(api, "cyd", 2)
    for at_ms, delivery in enumerate([*letters, *others], now_ms() - 100):
        shard = shard_of_id(delivery)
        await api.services.store.execute("ZADD", keys.dead(shard), at_ms, delivery)
    newest_first = [*reversed(others), *reversed(letters)]
    found, after = [], {}
    while after is not None:
        page = await read(api, "/v1/dead-letters", limit=2, **after)
        found += page["items"]
        after = {"after": page["next"]} if page["next"] else None
    assert [item["id"] for item in found] == newest_first
    assert {item["state"] for item in found} == {"dead"}
    of_one = await read(api, "/v1/dead-letters", endpoint=endpoint)
    assert [item["id"] for item in of_one["items"]] == letters[::-1]
    none = await read(api, "/v1/dead-letters", endpoint="0123456700")
    assert none == {"items": [], "next": None}


async def test_dead_letters_are_replayed_all_or_an_endpoints_or_since_a_time(api: Api):
    endpoint, letters = await dead_letters(api, "bob", 3)
    _, others = await dead_letters(api, "cyd", 2)

    async def replay(**body: object) -> int:
        answer = await api.admin.post("/v1/dead-letters:replay", json=body)
        assert answer.status_code == 202
        return answer.json()["scheduled"]

    assert await replay(since="2999-01-01T00:00:00Z") == 0
    assert await replay(endpoint="0123456700") == 0
    assert await replay(endpoint=endpoint) == 3
    assert [await places_of(api, delivery) for delivery in letters] == [["retries"]] * 3
    left = (await read(api, "/v1/dead-letters"))["items"]
    assert {item["id"] for item in left} == set(others)
    assert await replay(since="2020-01-01T00:00:00Z") == 2
    assert (await read(api, "/v1/dead-letters"))["items"] == []
    assert await replay() == 0


async def test_what_is_replayed_is_due_from_now_on_one_after_the_other(api: Api):
    before_ms = now_ms()
    _, letters = await dead_letters(api, "bob", 3)
    await api.admin.post("/v1/dead-letters:replay")
    items = [await read(api, f"/v1/deliveries/{delivery}") for delivery in letters]
    due = sorted(datetime.fromisoformat(item["next_attempt_at"]) for item in items)
    assert due[0] >= datetime.fromtimestamp(before_ms / 1000, UTC)
    gaps = [(later - sooner) / timedelta(milliseconds=1) for sooner, later in pairwise(due)]
    assert gaps == [20, 20]
    assert {item["state"] for item in items} == {"retrying"}


async def test_recover_schedules_what_an_endpoint_did_not_get_in_a_time(api: Api):
    endpoint = await make_endpoint(api, "bob")
    states = (State.DEAD, State.PARKED_PENDING, State.PARKED_RETRYING, State.DELIVERED)
    deliveries = {s: await settle(api, await post_to(api, "bob"), endpoint, s) for s in states}
    path = f"/v1/endpoints/{endpoint}:recover"
    before = {"since": "2020-01-01T00:00:00Z", "until": "2020-01-02T00:00:00Z"}
    assert (await api.admin.post(path, json=before)).json() == {"scheduled": 0}
    answer = await api.admin.post(path, json={"since": "2020-01-01T00:00:00+02:00"})
    assert (answer.status_code, answer.json()) == (202, {"scheduled": 3})
    for state, delivery in deliveries.items():
        expected = [] if state is State.DELIVERED else ["retries"]
        assert await places_of(api, delivery) == expected
    assert (await api.admin.post(path, json={"since": "2020-01-01T00:00:00Z"})).json() == {
        "scheduled": 0
    }


def test_the_time_that_stands_for_later_is_the_one_it_is_shown_as():
    assert datetime.fromtimestamp(DUE_MS / 1000, UTC) == datetime(2100, 1, 1, tzinfo=UTC)
