"""Who may call what: every call of the table, with every kind of credential."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from app.api.app import ALL_CALLS
from app.store.apikeys import Scope
from app.store.client import Store
from app.tokens import make_token
from tests.api.conftest import SCOPES, Api, make_services, serve
from tests.credentials import VERIFIER, bad_tokens, good_tokens

POST = "01k2v3w4x5y6z7a812"
ENDPOINT = "0123456702"
PATH = {
    "user": "bob",
    "other": "cyd",
    "post": POST,
    "endpoint": ENDPOINT,
    "delivery": f"{POST}-1-0-{ENDPOINT}",
    "key": "0123456789ab",
}

TWO = frozenset({Scope.PUBLISH, Scope.READ})

# Written down a second time, so that opening a call to more than it should be takes two mistakes.
ADMIN, PUBLISH, READ = {"admin"}, {"admin", "publish"}, {"admin", "read"}
CURSOR = {"admin", "own token"}
FEED = CURSOR | READ
ALL = {"all"}
MAY = {
    ("POST", "/v1/posts"): PUBLISH,
    ("GET", "/v1/posts"): READ,
    ("GET", "/v1/posts/{post}"): READ,
    ("PATCH", "/v1/posts/{post}"): PUBLISH,
    ("DELETE", "/v1/posts/{post}"): PUBLISH,
    ("GET", "/v1/posts/{post}/deliveries"): READ,
    ("GET", "/v1/deliveries/{delivery}"): READ,
    ("POST", "/v1/deliveries/{delivery}:retry"): ADMIN,
    ("GET", "/v1/dead-letters"): READ,
    ("POST", "/v1/dead-letters:replay"): ADMIN,
    ("GET", "/v1/users/{user}/feed"): FEED,
    ("PUT", "/v1/users/{user}/cursor"): CURSOR,
    ("PUT", "/v1/users/{user}/friends/{other}"): ADMIN,
    ("DELETE", "/v1/users/{user}/friends/{other}"): ADMIN,
    ("PUT", "/v1/users/{user}/follows/{other}"): ADMIN,
    ("DELETE", "/v1/users/{user}/follows/{other}"): ADMIN,
    ("PUT", "/v1/users/{user}/blocks/{other}"): ADMIN,
    ("DELETE", "/v1/users/{user}/blocks/{other}"): ADMIN,
    ("GET", "/v1/users/{user}/friends"): READ,
    ("GET", "/v1/users/{user}/follows"): READ,
    ("GET", "/v1/users/{user}/followers"): READ,
    ("GET", "/v1/users/{user}/blocks"): READ,
    ("POST", "/v1/graph:import"): ADMIN,
    ("POST", "/v1/endpoints"): ADMIN,
    ("GET", "/v1/users/{user}/endpoints"): READ,
    ("GET", "/v1/endpoints/{endpoint}"): READ,
    ("PATCH", "/v1/endpoints/{endpoint}"): ADMIN,
    ("DELETE", "/v1/endpoints/{endpoint}"): ADMIN,
    ("POST", "/v1/endpoints/{endpoint}/secret:rotate"): ADMIN,
    ("POST", "/v1/endpoints/{endpoint}:ping"): ADMIN,
    ("POST", "/v1/endpoints/{endpoint}:verify"): ADMIN,
    ("POST", "/v1/endpoints/{endpoint}:enable"): ADMIN,
    ("POST", "/v1/endpoints/{endpoint}:recover"): ADMIN,
    ("GET", "/v1/endpoints/{endpoint}/attempts"): READ,
    ("POST", "/v1/users/{user}/tokens"): ADMIN,
    ("POST", "/v1/keys"): ADMIN,
    ("GET", "/v1/keys"): ADMIN,
    ("DELETE", "/v1/keys/{key}"): ADMIN,
    ("GET", "/healthz"): ALL,
    ("GET", "/readyz"): ALL,
    ("GET", "/metrics"): ALL,
    ("GET", "/openapi.json"): ALL,
    ("GET", "/asyncapi.json"): ALL,
    ("GET", "/v1/stats"): READ,
}
# What each of them is, in words of the table. Who is known but may not gets 403, nobody 401.
NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Bearer:
    credential: str | None
    is_: frozenset[str] = NOBODY


@pytest.fixture
async def guarded_api(single_store: Store) -> AsyncIterator[Api]:
    """An API that knows tokens of every algorithm."""
    async with serve(make_services(single_store, tokens=VERIFIER)) as api:
        yield api


async def bearers(api: Api) -> dict[str, Bearer]:
    """Every kind of credential, and none."""
    _, two_scopes = await api.services.api_keys.create("two", TWO, 1)
    key, revoked = await api.services.api_keys.create("revoked", TWO, 1)
    await api.services.api_keys.revoke(key.id)
    return {
        **{f"key: {one}": Bearer(api.secrets[one], frozenset({one})) for one in SCOPES},
        "key: publish and read": Bearer(two_scopes, frozenset({"publish", "read"})),
        "key: revoked": Bearer(revoked),
        "key: unknown": Bearer("mk_" + "x" * 43),
        "key: cut": Bearer(api.secrets["admin"][:-1]),
        "key: without its beginning": Bearer(api.secrets["admin"].removeprefix("mk_")),
        **{
            f"own token: {kind}": Bearer(token, frozenset({"own token"}))
            for kind, token in good_tokens("bob").items()
        },
        **{
            f"other token: {kind}": Bearer(token, frozenset({"other token"}))
            for kind, token in good_tokens("mallory").items()
        },
        **{f"bad token: {kind}": Bearer(token) for kind, token in bad_tokens("bob").items()},
        "nothing": Bearer(None),
    }


def test_the_table_above_knows_every_call():
    assert set(MAY) == {(call.method, call.path) for call in ALL_CALLS}


@pytest.mark.parametrize(("method", "path"), list(MAY), ids=str)
async def test_a_call_is_open_to_exactly_those_it_is_meant_for(
    guarded_api: Api, method: str, path: str
):
    url = re.sub(r"{(\w+)}", lambda match: PATH[match[1]], path)
    for who, bearer in (await bearers(guarded_api)).items():
        async with guarded_api.client(bearer.credential) as client:
            answer = await client.request(method, url)
        if MAY[method, path] & (bearer.is_ | {"all"}):
            assert answer.status_code not in (401, 403), who
        else:
            assert answer.status_code == (403 if bearer.is_ else 401), who
            assert answer.headers["content-type"] == "application/problem+json"
            if answer.status_code == 401:
                assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "bearer",
        "mk_x",
        "Bearer " + "x" * 5_000,
        "Bearer \xff",
    ],
)
async def test_a_header_that_is_no_bearer_credential_is_401(single_api: Api, header: str):
    async with single_api.client(None) as client:
        headers = {b"authorization": header.encode("latin-1")}
        answer = await client.get("/v1/keys", headers=headers)
    assert answer.status_code == 401


async def test_the_scheme_is_case_insensitive(single_api: Api):
    async with single_api.client(None) as client:
        headers = {"authorization": f"bEARER {single_api.secrets['read']}"}
        assert (await client.get("/v1/users/bob/friends", headers=headers)).status_code == 200


async def test_a_revoked_key_is_refused_at_once_where_it_was_revoked(single_api: Api):
    made = (await single_api.admin.post("/v1/keys", json={"name": "x", "scopes": ["read"]})).json()
    async with single_api.client(made["key"]) as client:
        assert (await client.get("/v1/users/bob/friends")).status_code == 200
        assert (await single_api.admin.delete(f"/v1/keys/{made['id']}")).status_code == 204
        assert (await client.get("/v1/users/bob/friends")).status_code == 401


async def test_a_token_signed_with_another_secret_is_refused(single_api: Api):
    token = make_token("another secret that is long enough for it", "bob", ttl_s=60)
    async with single_api.client(token) as client:
        assert (await client.get("/v1/users/bob/feed")).status_code == 401


async def test_the_challenge_says_what_scope_is_missing(single_api: Api):
    async with single_api.client("read") as client:
        answer = await client.post("/v1/posts", json={"author": "ann", "data": {}})
    assert answer.status_code == 403
    assert 'scope="admin or publish"' in answer.headers["www-authenticate"]


async def test_what_is_neither_a_key_nor_a_token_is_told_apart(single_api: Api):
    async with single_api.client("nonsense") as client:
        answer = await client.get("/v1/stats")
    assert answer.status_code == 401
    assert answer.json()["detail"].startswith("This is neither an API key")
