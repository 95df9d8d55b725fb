"""What clients rely on, call by call: the status, and at least these fields in the answer."""

import re
from typing import Any

import pytest

from app.api.app import ALL_CALLS
from app.api.call import Call
from app.clock import now_ms
from app.store import canary
from tests.api.conftest import Api
from tests.api.world import good_request, make_world

NOTHING: set[str] = set()
PAGE = {"items", "next"}
POST = {"id", "version", "author", "type", "created_at", "data"}
ENDPOINT = {
    *("id", "user", "url", "types", "method", "state", "disabled_reason", "created_at"),
    *("last_success_at", "consecutive_failures", "headers", "rate_per_s", "retry_schedule_s"),
    "description",
}
DELIVERY = {"id", "post", "recipient", "channel", "state", "attempts", "updated_at"}
ATTEMPT = {"delivery", "attempt", "at", "status", "error", "duration_ms", "response"}

CONTRACT: dict[tuple[str, str], tuple[int, set[str]]] = {
    ("PUT", "/v1/users/{user}/friends/{other}"): (204, NOTHING),
    ("DELETE", "/v1/users/{user}/friends/{other}"): (204, NOTHING),
    ("PUT", "/v1/users/{user}/follows/{other}"): (204, NOTHING),
    ("DELETE", "/v1/users/{user}/follows/{other}"): (204, NOTHING),
    ("PUT", "/v1/users/{user}/blocks/{other}"): (204, NOTHING),
    ("DELETE", "/v1/users/{user}/blocks/{other}"): (204, NOTHING),
    ("GET", "/v1/users/{user}/friends"): (200, PAGE),
    ("GET", "/v1/users/{user}/follows"): (200, PAGE),
    ("GET", "/v1/users/{user}/followers"): (200, PAGE),
    ("GET", "/v1/users/{user}/blocks"): (200, PAGE),
    ("POST", "/v1/graph:import"): (200, {"created", "errors"}),
    ("POST", "/v1/users/{user}/tokens"): (201, {"token", "expires_at"}),
    ("POST", "/v1/endpoints"): (201, {*ENDPOINT, "secret"}),
    ("GET", "/v1/endpoints/{endpoint}"): (200, ENDPOINT),
    ("PATCH", "/v1/endpoints/{endpoint}"): (200, ENDPOINT),
    ("DELETE", "/v1/endpoints/{endpoint}"): (204, NOTHING),
    ("GET", "/v1/users/{user}/endpoints"): (200, PAGE),
    ("POST", "/v1/endpoints/{endpoint}/secret:rotate"): (200, {*ENDPOINT, "secret"}),
    ("POST", "/v1/endpoints/{endpoint}:enable"): (200, ENDPOINT),
    ("POST", "/v1/endpoints/{endpoint}:recover"): (202, {"scheduled"}),
    ("GET", "/v1/endpoints/{endpoint}/attempts"): (200, PAGE),
    ("POST", "/v1/posts"): (202, POST),
    ("GET", "/v1/posts"): (200, PAGE),
    ("GET", "/v1/posts/{post}"): (200, POST),
    ("PATCH", "/v1/posts/{post}"): (202, POST),
    ("DELETE", "/v1/posts/{post}"): (202, POST),
    ("GET", "/v1/posts/{post}/deliveries"): (200, {"counts", "fanned_out", "items", "next"}),
    ("GET", "/v1/deliveries/{delivery}"): (200, {*DELIVERY, "log"}),
    ("POST", "/v1/deliveries/{delivery}:retry"): (202, DELIVERY),
    ("GET", "/v1/dead-letters"): (200, PAGE),
    ("POST", "/v1/dead-letters:replay"): (202, {"scheduled"}),
    ("GET", "/v1/users/{user}/feed"): (
        200,
        {"epoch", "items", "next_offset", "head_offset", "cursor"},
    ),
    ("PUT", "/v1/users/{user}/cursor"): (200, {"cursor", "head_offset", "unread"}),
    ("GET", "/healthz"): (200, {"status"}),
    ("GET", "/readyz"): (200, {"ready", "checks"}),
    ("GET", "/v1/stats"): (200, {"queues", "leases", "nodes", "endpoints"}),
    # Beyond the contract.
    ("GET", "/openapi.json"): (200, {"openapi", "paths", "components"}),
    ("GET", "/asyncapi.json"): (200, {"asyncapi", "channels", "operations", "components"}),
    ("POST", "/v1/keys"): (201, {"id", "key", "scopes"}),
    ("GET", "/v1/keys"): (200, PAGE),
    ("DELETE", "/v1/keys/{key}"): (204, NOTHING),
}
# These have tests of their own: two need a sender, the other's answer is text.
ELSEWHERE = {
    ("POST", "/v1/endpoints/{endpoint}:ping"),
    ("POST", "/v1/endpoints/{endpoint}:verify"),
    ("GET", "/metrics"),
}


def test_no_call_is_without_a_contract():
    assert {(call.method, call.path) for call in ALL_CALLS} == set(CONTRACT) | ELSEWHERE


@pytest.mark.parametrize(
    "call",
    [call for call in ALL_CALLS if (call.method, call.path) in CONTRACT],
    ids=lambda call: f"{call.method} {call.path}",
)
async def test_a_call_answers_as_clients_rely_on(single_api: Api, call: Call):
    world = await make_world(single_api)
    await canary.arrived(single_api.services.store, 0, now_ms())
    answer = await single_api.admin.request(call.method, world.url(call), **good_request(call))
    status, fields = CONTRACT[call.method, call.path]
    assert answer.status_code == status, answer.text
    if status == 204:
        assert answer.content == b""
        return
    assert answer.headers["content-type"] == "application/json"
    assert fields <= set(answer.json())


LISTS = [call for call in ALL_CALLS if "limit" in call.query.model_fields]


def test_lists_are_known_by_their_pages():
    shaped = {c for c in ALL_CALLS if c.model and set(c.model.model_fields) >= {"items", "next"}}
    assert shaped <= set(LISTS)
    assert {call.path for call in set(LISTS) - shaped} == {"/v1/users/{user}/feed"}


async def test_a_page_has_50_items_unless_told_otherwise_and_200_at_most(single_api: Api):
    lines = b"".join(b'{"kind": "follow", "a": "u%03d", "b": "ann"}\n' % n for n in range(203))
    await single_api.admin.post("/v1/graph:import", content=lines)

    async def page(query: str) -> dict[str, Any]:
        return (await single_api.admin.get(f"/v1/users/ann/followers{query}")).json()

    assert len((await page(""))["items"]) == 50
    assert len((await page("?limit=1"))["items"]) == 1
    whole = await page("?limit=200")
    assert (len(whole["items"]), whole["next"]) == (200, "u199")
    assert await page("?limit=200&after=u199") == {"items": ["u200", "u201", "u202"], "next": None}


async def test_every_time_is_in_utc_with_milliseconds(single_api: Api):
    world = await make_world(single_api)
    await single_api.admin.post(f"/v1/endpoints/{world.ids['endpoint']}/secret:rotate")
    found: list[str] = []
    for call in ALL_CALLS:
        has_times = call.path.startswith("/v1/") or call.path.endswith("z")
        if call.method == "GET" and has_times:  # neither figures nor descriptions
            answer = await single_api.admin.get(world.url(call))
            found += re.findall(r'"(?:at|\w+_at|open_until)":("[^"]*"|\d+)', answer.text)
    assert len(found) > 10
    for text in found:
        assert re.fullmatch(r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"', text)
