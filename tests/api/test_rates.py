"""How often one may call: at the bound, beyond it, and after the time that the answer names."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import httpx
import pytest

from app.api import auth
from app.api.rates import Rates
from app.api.services import Limits
from app.domain.bucket import Rate
from app.settings import Settings
from app.store.client import Store
from app.tokens import make_token
from tests.api.conftest import Api, make_services, serve, snapshot, user_token
from tests.api.served import served

FEED = "/v1/users/bob/feed"
POST = {"author": "ann", "data": {"text": "hello"}}
UNKNOWN = "mk_" + "x" * 43


@dataclass
class Clock:
    now_s: float = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Limited:
    """An API whose rates go by a clock that is set."""

    api: Api
    clock: Clock
    rates: Rates

    async def get(self, credential: str | None, path: str = FEED, **more: Any) -> httpx.Response:
        async with self.api.client(credential) as client:
            return await client.get(path, **more)

    async def post(self, credential: str, **changes: Any) -> httpx.Response:
        async with self.api.client(credential) as client:
            return await client.post("/v1/posts", json=POST | changes)

    def refused(self) -> dict[str, int]:
        return dict(self.rates.refused)


Make = Callable[..., Awaitable[Limited]]


@pytest.fixture
async def make(single_store: Store):
    """Makes an API with some rates."""
    async with AsyncExitStack() as open_:

        async def make(limits: Limits | None = None, **rates: Any) -> Limited:
            clock = Clock()
            made = Rates(**rates, clock=clock)
            services = make_services(single_store, limits=limits, rates=made)
            return Limited(await open_.enter_async_context(serve(services)), clock, made)

        yield make


def told(answer: httpx.Response) -> tuple[str | None, ...]:
    names = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
    return tuple(answer.headers.get(name) for name in names)


def kind(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.json()["type"].rpartition(":")[2]


async def test_a_user_may_send_so_many_requests_at_once_and_more_as_time_passes(make: Make):
    limited = await make(user=Rate.of(2, 3))
    token = user_token("bob")
    answers = [await limited.get(token) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [told(answer) for answer in answers] == [
        ("3", "2", "1"),
        ("3", "1", "1"),
        ("3", "0", "2"),
        ("3", "0", "2"),
    ]
    assert (kind(answers[-1]), answers[-1].headers["retry-after"]) == ("too-many-requests", "1")
    assert answers[-1].json()["detail"] == "bob may send 2 requests a second, 3 at once."
    assert (await limited.get(user_token("eve"), "/v1/users/eve/feed")).status_code == 200
    assert limited.refused() == {"user_rate_per_s": 1}
    limited.clock.now_s += 0.49
    assert (await limited.get(token)).status_code == 429
    limited.clock.now_s += 0.01
    assert (await limited.get(token)).status_code == 200
    assert (await limited.get(token)).status_code == 429


async def test_another_token_of_the_same_user_does_not_help(make: Make):
    limited = await make(user=Rate.of(1, 1))
    assert (await limited.get(user_token("bob", 60))).status_code == 200
    assert (await limited.get(user_token("bob", 61))).status_code == 429


@pytest.mark.parametrize("rate", [Rate.of(0.25, 1), Rate.of(7, 2), Rate.of(0.3, 5)])
async def test_after_the_time_that_is_named_the_next_request_is_taken(make: Make, rate: Rate):
    limited = await make(user=rate)
    token = user_token("bob")
    while (answer := await limited.get(token)).status_code == 200:
        pass
    wait_s = int(answer.headers["retry-after"])
    limited.clock.now_s += wait_s - 1
    if wait_s > 1:
        assert (await limited.get(token)).status_code == 429
    limited.clock.now_s += 1
    assert (await limited.get(token)).status_code == 200
    limited.clock.now_s += int((await limited.get(token)).headers["ratelimit-reset"])
    answers = [await limited.get(token) for _ in range(int(rate.burst))]
    assert [answer.status_code for answer in answers] == [200] * int(rate.burst)


async def test_a_key_has_the_common_rate_or_its_own_and_an_admin_key_has_none(make: Make):
    limited = await make(key=Rate.of(1, 2))
    for key in ("read", "publish"):
        credential = limited.api.secrets[key]
        for status in (200, 200, 429) if key == "read" else (202, 202, 429):
            answer = await (limited.get if key == "read" else limited.post)(credential)
            assert answer.status_code == status
            assert told(answer)[0] == "2"
    for _ in range(5):
        answer = await limited.get("admin", "/v1/keys")
        assert (answer.status_code, told(answer)) == (200, (None, None, None))
    made = {"name": "own", "scopes": ["read", "admin"], "rate_per_s": 4}
    own = (await limited.api.admin.post("/v1/keys", json=made)).json()
    assert own["rate_per_s"] == 4
    answers = [await limited.get(own["key"]) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429]
    assert answers[-1].json()["detail"] == f"Key {own['id']} may send 4 a second, 4 at once."
    assert limited.refused() == {"key_rate_per_s": 3}
    listed = (await limited.api.admin.get("/v1/keys")).json()["items"]
    assert [key.get("rate_per_s") for key in listed if key["name"] in ("own", "read")] == [None, 4]


@pytest.mark.parametrize("rate", [0, -1, 0.001, 100_001, "4", True])
async def test_a_rate_that_a_key_cannot_have_is_refused(single_api: Api, rate: Any):
    made = {"name": "own", "scopes": ["read"], "rate_per_s": rate}
    answer = await single_api.admin.post("/v1/keys", json=made)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "rate_per_s"


async def test_every_answer_to_who_has_a_rate_tells_of_it(make: Make):
    limited = await make(user=Rate.of(1, 9), key=Rate.of(1, 9))
    token = user_token("bob")
    answers = [
        await limited.get(token),
        await limited.get(token, "/v1/users/eve/feed"),  # 403
        await limited.get(token, FEED + "?limit=x"),  # 422
        await limited.get("read", "/v1/posts/01k2v3w4x5y6z7a812"),  # 404
    ]
    assert [answer.status_code for answer in answers] == [200, 403, 422, 404]
    assert {told(answer)[0] for answer in answers} == {"9"}
    assert [told(answer)[1] for answer in answers] == ["8", "7", "6", "8"]
    for answer in (await limited.get(None), await limited.get(None, "/healthz")):
        assert told(answer) == (None, None, None)


async def test_an_author_may_send_so_many_posts_and_one_that_is_refused_is_not_there(make: Make):
    limited = await make(author=Rate.of(0.5, 2))
    for _ in range(2):
        assert (await limited.post("publish")).status_code == 202
    before = await snapshot(limited.api.services.store)
    answer = await limited.post("admin")  # whoever sends it
    assert (answer.status_code, kind(answer)) == (429, "too-many-posts")
    assert answer.json()["detail"] == "ann may send 0.5 posts a second, 2 at once."
    assert answer.headers["retry-after"] == "2"
    assert told(answer) == (None, None, None)  # these are about requests
    assert await snapshot(limited.api.services.store) == before
    assert limited.refused() == {"author_rate_per_s": 1}
    assert (await limited.post("publish", author="bob")).status_code == 202
    assert (await limited.post("publish", type="Not a word")).status_code == 422
    limited.clock.now_s += 2
    assert (await limited.post("publish")).status_code == 202


async def test_a_post_that_cannot_be_taken_costs_its_author_nothing(make: Make):
    limited = await make(author=Rate.of(1, 1))
    headers = {b"idempotency-key": b"\xe4"}
    async with limited.api.client("publish") as client:
        answer = await client.post("/v1/posts", json=POST, headers=headers)
    assert answer.status_code == 422
    assert (await limited.post("publish")).status_code == 202


# Guesses.


@pytest.fixture
def guess_s(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(auth, "GUESS_S", 0.2)
    return 0.2


async def timed(call: Awaitable[httpx.Response]) -> tuple[int, float]:
    loop = asyncio.get_running_loop()
    began = loop.time()
    return (await call).status_code, loop.time() - began


async def test_guesses_are_refused_and_slowed_down_after_some_and_good_keys_are_not_locked_out(
    make: Make, guess_s: float
):
    limited = await make(failure=Rate.of(1, 3))
    known, unseen = limited.api.secrets["read"], limited.api.secrets["publish"]
    assert (await limited.get(known, "/v1/stats")).status_code == 200
    for number in range(3):
        answer = await limited.get(f"{UNKNOWN}{number}")
        assert answer.status_code == 401
    status, took_s = await timed(limited.get(f"{UNKNOWN}3"))
    assert status == 429
    assert took_s >= guess_s
    answer = await limited.get("not.a.token")
    assert (answer.status_code, kind(answer)) == (429, "too-many-failures")
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["detail"] == (
        "This key or token is not one of ours, like more than 3 before it from 127.0.0.1."
    )
    assert limited.refused() == {"auth_failure_rate_per_s": 2}
    # One that this process has seen before, one that it has not, and a token.
    status, took_s = await timed(limited.get(known, "/v1/stats"))
    assert status == 200
    assert took_s < guess_s
    status, took_s = await timed(limited.post(unseen))
    assert status == 202
    assert took_s >= guess_s  # else a guess that is not answered at once would be known as wrong
    assert (await timed(limited.post(unseen)))[1] < guess_s
    assert (await limited.get(user_token("bob"))).status_code == 200
    limited.clock.now_s += 1
    assert (await limited.get(UNKNOWN)).status_code == 401
    assert (await limited.get(UNKNOWN)).status_code == 429


async def test_what_is_no_guess_counts_for_nothing(make: Make):
    limited = await make(failure=Rate.of(1, 1))
    expired = user_token("bob", now_s=1_000)
    for credential in (expired, None, expired, None):
        assert (await limited.get(credential)).status_code == 401
    headers = {"authorization": "Basic YTpi"}
    assert (await limited.get(None, headers=headers)).status_code == 401
    assert (await limited.get(user_token("bob"), "/v1/keys")).status_code == 403
    assert (await limited.get(UNKNOWN)).status_code == 401  # the first one
    assert (await limited.get(expired)).status_code == 401  # its client has to hear why
    stranger = make_token("the secret of somebody else, as long as ours", "bob", ttl_s=60)
    assert (await limited.get(stranger)).status_code == 429


async def test_each_address_has_its_own_guesses_and_a_client_cannot_choose_its_own(
    make: Make, guess_s: float
):
    proxies = (ip_network("127.0.0.0/8"),)
    limited = await make(Limits(trusted_proxies=proxies), failure=Rate.of(1, 1))

    async def guess(forwarded: str) -> int:
        headers = {"x-forwarded-for": forwarded}
        return (await limited.get(UNKNOWN, headers=headers)).status_code

    assert await guess("192.0.2.7") == 401
    assert await guess("198.51.100.1, 192.0.2.7") == 429
    assert await guess("192.0.2.8") == 401
    assert await guess("2001:db8::1") == 401
    assert await guess("2001:db8::2") == 429
    assert (await limited.get(UNKNOWN)).status_code == 401  # the proxy's own
    direct = await make(failure=Rate.of(1, 1))
    headers = {"x-forwarded-for": "192.0.2.9"}
    assert (await direct.get(UNKNOWN, headers=headers)).status_code == 401
    headers = {"x-forwarded-for": "192.0.2.10"}
    assert (await direct.get(UNKNOWN, headers=headers)).status_code == 429


# All of it.


async def test_without_rates_nothing_is_refused_or_told(single_api: Api):
    good = (user_token("bob"), "read")
    for credential in (*good, UNKNOWN, None):
        for _ in range(30):
            async with single_api.client(credential) as client:
                answer = await client.get(FEED)
            assert answer.status_code == (200 if credential in good else 401)
            assert told(answer) == (None, None, None)


def test_the_rates_are_those_of_the_settings():
    rates = Rates.of(Settings())
    assert [rates.spend_of_user("bob")["RateLimit-Limit"] for _ in range(1)] == ["100"]
    assert rates.spend_of_key("0123456789ab")["RateLimit-Limit"] == "2000"
    off = {f"{name}_rate_per_s": 0 for name in ("user", "key", "author", "auth_failure")}
    rates = Rates.of(Settings.model_validate(off))
    for _ in range(3_000):
        assert rates.spend_of_user("bob") == rates.spend_of_key("0123456789ab") == {}
        rates.spend_of_author("ann")
        rates.spend_of_failure("192.0.2.7")
    assert rates.refused == {}


def test_of_so_many_names_the_rate_is_known_and_who_goes_too_early_is_counted():
    rates = Rates(user=Rate.of(1, 2), names_max=2, clock=Clock())
    for user in ("ann", "bob", "cyd", "dan"):
        rates.spend_of_user(user)
    at = (("limit", "user_rate_per_s"),)
    assert rates.read_names()[at] == 2
    assert rates.read_forgotten()[at] == 2
    assert rates.spend_of_user("dan")["RateLimit-Remaining"] == "0"
    assert rates.spend_of_user("ann")["RateLimit-Remaining"] == "1"


async def test_a_served_api_says_how_long_to_wait_and_counts_and_logs_it(
    single_store: Store, caplog: pytest.LogCaptureFixture
):
    rates = Rates(user=Rate.of(5, 2))
    async with serve(make_services(single_store, rates=rates)) as api, served(api) as running:
        bearer = {"authorization": f"Bearer {user_token('bob')}"}
        async with httpx.AsyncClient(base_url=running.base, headers=bearer, verify=False) as client:
            answers = [await client.get(FEED) for _ in range(3)]
            assert [answer.status_code for answer in answers] == [200, 200, 429]
            await asyncio.sleep(int(answers[-1].headers["retry-after"]))
            assert (await client.get(FEED)).status_code == 200
        metrics = (await api.admin.get("/metrics")).text
    assert 'moments_api_rate_refused_total{limit="user_rate_per_s"} 1.0' in metrics
    assert 'moments_api_rate_names{limit="user_rate_per_s"} 1.0' in metrics
    assert 'moments_api_problems_total{kind="too-many-requests"} 1.0' in metrics
    [line] = [line for line in caplog.records if line.message == "requests refused"]
    assert (line.kind, line.detail) == (
        "too-many-requests",
        "bob may send 5 requests a second, 2 at once.",
    )
