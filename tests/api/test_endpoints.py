import asyncio

import pytest

from app.api.services import Limits
from app.clock import now_ms
from app.domain.attempt import Failure, Outcome
from app.domain.ids import shard_of_id
from app.domain.signature import Ed25519Signer, decode_secret, new_signing_key
from app.guard import Guard
from app.store import keys
from app.wire import encode_attempt
from tests.api.conftest import Api, make_services, serve, snapshot, whsec
from tests.api.ledgered import log_attempt
from tests.wait import wait_until

URL = "https://public.example/hook?a=1"
MISSING = "0123456700"


async def make(api: Api, user: str = "bob", **fields: object) -> dict[str, object]:
    answer = await api.admin.post("/v1/endpoints", json={"user": user, "url": URL, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_an_endpoint_is_made_with_defaults_and_a_new_secret(api: Api):
    made = await make(api)
    assert len(decode_secret(made["secret"])) == 32
    assert made == {
        "id": made["id"],
        "user": "bob",
        "url": URL,
        "types": ["post.*"],
        "method": "POST",
        "headers": {},
        "rate_per_s": None,
        "retry_schedule_s": None,
        "description": None,
        "state": "active",
        "disabled_reason": None,
        "created_at": made["created_at"],
        "last_success_at": None,
        "consecutive_failures": 0,
        "first_failure_at": None,
        "open_until": None,
        "signing": "hmac",
        "public_key": None,
        "verification": None,
        "secret": made["secret"],
    }


async def test_an_endpoint_keeps_everything_it_was_given(api: Api):
    given = {
        "types": ["*", "post.created", "commit.*"],
        "method": "rest",
        "headers": {"X-Tenant": "7"},
        "rate_per_s": 0.5,
        "retry_schedule_s": [1, 2.5],
        "description": "Grüße",
        "secret": whsec(64),
    }
    made = await make(api, **given)
    assert {name: made[name] for name in given} == {**given, "headers": {"x-tenant": "7"}}


async def test_the_secret_is_shown_at_creation_and_rotation_only(api: Api):
    made = await make(api)
    path = f"/v1/endpoints/{made['id']}"
    rotated = (await api.admin.post(f"{path}/secret:rotate", json={"overlap_s": 60})).json()
    assert rotated["secret"] != made["secret"]
    for answer in (
        await api.admin.get(path),
        await api.admin.get("/v1/users/bob/endpoints"),
        await api.admin.patch(path, json={"description": "x"}),
        await api.admin.post(f"{path}:enable"),
    ):
        assert answer.status_code == 200
        assert "whsec_" not in answer.text


async def test_both_secrets_sign_until_the_overlap_ends(api: Api):
    made = await make(api)
    path = f"/v1/endpoints/{made['id']}/secret:rotate"
    rotated = (await api.admin.post(path)).json()  # the overlap is a day unless it is given
    stored = await api.services.endpoints.get(made["id"])
    day_ms = 86_400_000
    assert stored.live_secrets(now_ms()) == (rotated["secret"], made["secret"])
    assert stored.live_secrets(now_ms() + day_ms) == (rotated["secret"],)


async def test_with_ed25519_the_key_stays_here_and_its_public_half_is_always_shown(api: Api):
    made = await make(api, signing="ed25519")
    path = f"/v1/endpoints/{made['id']}"
    assert (made["signing"], made["secret"]) == ("ed25519", None)
    assert made["public_key"].startswith("whpk_")
    rotated = (await api.admin.post(f"{path}/secret:rotate")).json()
    assert (rotated["signing"], rotated["secret"]) == ("ed25519", None)
    assert rotated["public_key"] not in (made["public_key"], None)
    stored = await api.services.endpoints.get(made["id"])
    old, new = made["public_key"], rotated["public_key"]
    live = [Ed25519Signer(key).public_key for key in stored.live_secrets(now_ms())]
    assert live == [new, old]
    for answer in (
        await api.admin.get(path),
        await api.client("read").get("/v1/users/bob/endpoints"),
        await api.admin.patch(path, json={"description": "x"}),
    ):
        assert new in answer.text
        assert "whsk_" not in answer.text


async def test_how_an_endpoint_signs_is_one_of_two_and_stays(api: Api):
    made = await make(api)
    path = f"/v1/endpoints/{made['id']}"
    body = {"user": "bob", "url": URL}
    for answer in (
        await api.admin.post("/v1/endpoints", json={**body, "signing": "rsa"}),
        await api.admin.patch(path, json={"signing": "ed25519"}),
    ):
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == ["signing"]


@pytest.mark.parametrize("secret", [whsec(32), new_signing_key(bytes)], ids=["whsec", "whsk"])
async def test_a_key_for_ed25519_cannot_be_brought_along(api: Api, secret: str):
    body = {"user": "bob", "url": URL, "signing": "ed25519", "secret": secret}
    answer = await api.admin.post("/v1/endpoints", json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["secret"]
    assert secret not in answer.text


async def test_a_change_touches_only_what_it_names(api: Api):
    made = await make(api, description="old", rate_per_s=5, headers={"x-a": "1"})
    path = f"/v1/endpoints/{made['id']}"
    changed = (await api.admin.patch(path, json={"rate_per_s": 7})).json()
    expected = {name: value for name, value in made.items() if name != "secret"}
    assert changed == {**expected, "rate_per_s": 7.0}
    assert (await api.admin.patch(path, json={})).json() == changed
    assert (await api.admin.get(path)).json() == changed


async def test_null_brings_an_option_back_to_its_default(api: Api):
    options = {
        "types": ["commit.*"],
        "method": "GET",
        "headers": {"x-a": "1"},
        "rate_per_s": 1,
        "retry_schedule_s": [1],
        "description": "x",
    }
    made = await make(api, **options)
    path = f"/v1/endpoints/{made['id']}"
    changed = (await api.admin.patch(path, json=dict.fromkeys(options))).json()
    assert {name: changed[name] for name in options} == {
        "types": ["post.*"],
        "method": "POST",
        "headers": {},
        "rate_per_s": None,
        "retry_schedule_s": None,
        "description": None,
    }


async def test_an_empty_schedule_means_no_retries(api: Api):
    made = await make(api, retry_schedule_s=[])
    assert made["retry_schedule_s"] == []


async def test_a_name_that_does_not_resolve_now_is_taken(api: Api):
    assert (await make(api, url="https://later.example/"))["url"] == "https://later.example/"


async def test_a_name_whose_servers_do_not_answer_is_taken_soon(single_store):
    async def silent(_: str) -> list[str]:
        await asyncio.Event().wait()
        raise AssertionError

    limits = Limits(lookup_timeout_s=0.02, answer_timeout_s=5)
    services = make_services(single_store, limits=limits, guard=Guard(resolve=silent))
    async with serve(services) as api:
        made = await make(api)
        assert made["url"] == URL
        changed = await api.admin.patch(f"/v1/endpoints/{made['id']}", json={"url": f"{URL}&b=2"})
    assert changed.json()["url"] == f"{URL}&b=2"


async def test_the_values_of_headers_are_shown_to_admins_only(api: Api):
    made = await make(api, headers={"authorization": "Bearer of-the-receiver"})
    async with api.client("read") as reader:
        for path in (f"/v1/endpoints/{made['id']}", "/v1/users/bob/endpoints"):
            assert "of-the-receiver" not in (await reader.get(path)).text
            assert "of-the-receiver" in (await api.admin.get(path)).text


async def test_the_endpoints_of_a_user_are_listed_in_pages(api: Api):
    made = sorted([await make(api) for _ in range(3)], key=lambda e: (e["created_at"], e["id"]))
    await make(api, user="cyd")
    first = (await api.admin.get("/v1/users/bob/endpoints?limit=2")).json()
    rest = (await api.admin.get(f"/v1/users/bob/endpoints?limit=2&after={first['next']}")).json()
    assert [e["id"] for e in first["items"] + rest["items"]] == [e["id"] for e in made]
    assert rest["next"] is None


async def test_a_user_has_a_bounded_number_of_endpoints(api: Api):
    for _ in range(3):
        await make(api)
    answer = await api.admin.post("/v1/endpoints", json={"user": "bob", "url": URL})
    assert answer.status_code == 409
    assert api.services.stats.refusals.by_kind == {"limit-reached": 1}


async def test_an_endpoint_that_was_disabled_says_why_and_can_be_enabled(api: Api):
    made = await make(api)
    id_, path = made["id"], f"/v1/endpoints/{made['id']}"
    ailing = {
        **{"state": "disabled", "disabled_reason": "gone", "consecutive_failures": 12},
        **{"first_failure_at": 1_769_860_800_123, "last_success_at": 1_769_860_800_004},
    }
    flat = [part for pair in ailing.items() for part in pair]
    await api.services.store.execute("HSET", keys.endpoint(shard_of_id(id_), id_), *flat)
    shown = (await api.admin.get(path)).json()
    assert (shown["state"], shown["disabled_reason"]) == ("disabled", "gone")
    assert shown["consecutive_failures"] == 12
    assert shown["first_failure_at"] == "2026-01-31T12:00:00.123Z"
    assert shown["last_success_at"] == "2026-01-31T12:00:00.004Z"
    enabled = await api.admin.post(f"{path}:enable")
    assert enabled.status_code == 200
    assert (await api.admin.get(path)).json() == enabled.json()
    assert enabled.json() == {
        **{name: value for name, value in made.items() if name != "secret"},
        "last_success_at": shown["last_success_at"],
    }


async def test_a_deleted_endpoint_is_gone(api: Api):
    made = await make(api)
    path = f"/v1/endpoints/{made['id']}"
    assert (await api.admin.delete(path)).status_code == 204
    assert (await api.admin.delete(path)).status_code == 404
    assert (await api.admin.get(path)).status_code == 404
    assert (await api.admin.get("/v1/users/bob/endpoints")).json()["items"] == []


@pytest.mark.parametrize(
    ("method", "tail", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {}),
        ("DELETE", "", None),
        ("POST", "/secret:rotate", {}),
        ("POST", ":ping", None),
        ("POST", ":enable", None),
        ("POST", ":recover", {"since": "2026-01-01T00:00:00Z"}),
        ("GET", "/attempts", None),
    ],
)
async def test_an_endpoint_that_does_not_exist_is_a_404(single_api: Api, method, tail, body):
    answer = await single_api.admin.request(method, f"/v1/endpoints/{MISSING}{tail}", json=body)
    assert answer.status_code == 404


async def test_attempts_are_listed_the_newest_first(api: Api):
    made = await make(api)
    store, id_ = api.services.store, made["id"]
    for number in range(1, 4):
        failure = Failure.TIMEOUT if number == 1 else None
        outcome = Outcome(0 if failure else 500, failure, 12.5, excerpt=b"no\xff")
        entry = encode_attempt("d", number, 1_700_000_000_000 + number, outcome)
        await store.execute("LPUSH", keys.attempts(shard_of_id(id_), id_), entry)
    path = f"/v1/endpoints/{id_}/attempts"
    first = (await api.admin.get(path, params={"limit": 2})).json()
    rest = (await api.admin.get(path, params={"limit": 2, "after": first["next"]})).json()
    assert [a["attempt"] for a in first["items"] + rest["items"]] == [3, 2, 1]
    assert rest["next"] is None
    assert first["items"][0] == {
        "delivery": "d",
        "attempt": 3,
        "at": "2023-11-14T22:13:20.003Z",
        "status": 500,
        "error": "http_5xx",
        "duration_ms": 12.5,
        "response": "no\ufffd",
    }
    assert (rest["items"][0]["status"], rest["items"][0]["error"]) == (None, "timeout")


async def test_what_is_tried_between_two_pages_makes_nothing_come_twice(api: Api):
    made = await make(api)
    deliveries = [f"01kg9ys7g0d2pf2d03-1-{n}-{made['id']}" for n in range(6)]
    for delivery in deliveries[:4]:
        await log_attempt(api, delivery, 1, failed=True)
    path = f"/v1/endpoints/{made['id']}/attempts"
    first = (await api.admin.get(path, params={"limit": 2})).json()
    for delivery in deliveries[4:]:
        await log_attempt(api, delivery, 1, failed=True)
    rest = (await api.admin.get(path, params={"after": first["next"]})).json()
    seen = [entry["delivery"] for entry in first["items"] + rest["items"]]
    assert seen == deliveries[3::-1]
    gone = (await api.admin.get(path, params={"after": "1.1.cut-from-the-log"})).json()
    assert gone == {"items": [], "next": None}


async def test_a_ping_is_answered_with_what_the_sender_says(api: Api):
    made = await make(api)
    store, shard = api.services.store, shard_of_id(made["id"])
    await store.execute("SET", keys.lease(shard, keys.SENDER), "worker.token")

    async def send_as_asked() -> None:
        async def asked():
            entries = await store.execute("XRANGE", keys.changes(shard), "-", "+")
            return next((fields for _, fields in entries if b"p" in fields), None)

        fields = await wait_until(asked)
        request = fields[fields.index(b"p") + 1].decode()
        outcome = Outcome(204, None, 3.0)
        entry = encode_attempt("ping", 1, now_ms(), outcome)
        await store.execute("RPUSH", keys.reply(shard, request), entry)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(send_as_asked())
        answer = await api.admin.post(f"/v1/endpoints/{made['id']}:ping")
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["error"]) == (204, None)


async def test_a_ping_without_a_sender_is_a_503_at_once(api: Api):
    made = await make(api)
    before = await snapshot(api.services.store)
    async with asyncio.timeout(5):  # the time for a ping is four times as long
        answer = await api.admin.post(f"/v1/endpoints/{made['id']}:ping")
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:moments:problem:no-sender"
    assert int(answer.headers["retry-after"]) >= 1
    assert await snapshot(api.services.store) == before


async def test_a_ping_that_its_sender_does_not_answer_is_a_503_in_the_stated_time(single_store):
    services = make_services(single_store, limits=Limits(ping_timeout_s=0.05))
    async with serve(services) as api:
        made = await make(api)
        lease = keys.lease(shard_of_id(made["id"]), keys.SENDER)
        await single_store.execute("SET", lease, "worker.token")
        answer = await api.admin.post(f"/v1/endpoints/{made['id']}:ping")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
