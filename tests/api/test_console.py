"""The console's pages: who gets in, who is kept out, and what a page may load."""

import base64
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_network

import httpx
import pytest

from app.api.app import create_app
from app.api.services import Limits
from app.api.sessions import COOKIE, SECURE_COOKIE, Sessions
from app.clock import now_ms
from app.console.pages import PAGES, pages
from app.console.signing_in import FORM_BYTES_MAX
from app.sealing import Sealer
from app.store.apikeys import Scope, digest_of
from app.store.client import Store
from tests.api.conftest import SCOPES, make_services

SESSION_S = 3_600.0
SEALER = Sealer(bytes(32))


class Clock:
    """Milliseconds, which pass when they are told to."""

    def __init__(self) -> None:
        self.ms = now_ms()

    def __call__(self) -> int:
        return self.ms


class Browser:
    """Keeps cookies, as one does, and follows no redirect by itself."""

    def __init__(self, client: httpx.AsyncClient, keys: dict[str, str], clock: Clock) -> None:
        self.client = client
        self.keys = keys
        self.clock = clock

    async def sign_in(self, key: str = "admin", **headers: str) -> httpx.Response:
        form = {"key": self.keys.get(key, key)}
        return await self.client.post("/login", data=form, headers=headers)

    async def csrf(self) -> str:
        page = await self.client.get("/")
        assert page.status_code == 200
        found = re.search(r'name="csrf-token" content="([^"]+)"', page.text)
        assert found
        return found[1]


@pytest.fixture
async def browser(single_store: Store) -> AsyncIterator[Browser]:
    clock = Clock()
    proxies = (ip_network("127.0.0.1/32"),)
    services = make_services(
        single_store,
        limits=Limits(trusted_proxies=proxies),
        sessions=Sessions(SEALER, session_s=SESSION_S, clock=clock),
    )
    keys = {}
    for name, scopes in SCOPES.items():
        _, keys[name] = await services.api_keys.create(name, scopes, now_ms())
    transport = httpx.ASGITransport(create_app(services, pages), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        yield Browser(client, keys, clock)


async def test_a_browser_without_a_session_is_sent_to_sign_in(browser: Browser):
    answer = await browser.client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert 'name="key"' in (await browser.client.get("/login")).text


@pytest.mark.parametrize("path", ["/", "/posts", "/moments", "/console/console.css", "/logout"])
async def test_a_method_that_a_page_has_not_is_a_405(browser: Browser, path: str):
    answer = await browser.client.put(path)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) <= {"GET", "HEAD", "POST"}


@pytest.mark.parametrize("page", [page.path for page in PAGES])
async def test_no_page_is_for_whoever_is_not_signed_in(browser: Browser, page: str):
    path = _path(page)
    answer = await browser.client.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"] == ("/login" if path == "/" else f"/login?next={path}")
    await browser.sign_in()
    assert (await browser.client.get(path)).status_code == 200


def _path(page: str) -> str:
    return page.replace("{post}", "01kg9ys7g0d2pf2d03").replace("{endpoint}", "ky77tv2v00")


@pytest.mark.parametrize(
    "path", ["/posts/x", "/posts/<b>", "/endpoints/UPPERCASE0", "/console/zzz"]
)
async def test_a_page_of_nothing_is_not_found_and_shows_nothing_of_what_was_asked(
    browser: Browser, path: str
):
    await browser.sign_in()
    answer = await browser.client.get(path)
    assert answer.status_code == 404
    assert path.rpartition("/")[2] not in re.sub(r"<[^>]*>", "", answer.text)


async def test_signing_in_leads_to_the_page_that_was_asked_for(browser: Browser):
    form = (await browser.client.get("/login?next=/posts/01kg9ys7g0d2pf2d03")).text
    assert 'name="next" value="/posts/01kg9ys7g0d2pf2d03"' in form
    data = {"key": browser.keys["admin"], "next": "/posts/01kg9ys7g0d2pf2d03"}
    answer = await browser.client.post("/login", data=data)
    assert answer.headers["location"] == data["next"]


@pytest.mark.parametrize(
    "next_",
    [
        *("//evil.example", "https://evil.example", "/\\evil.example", "/posts/../..//evil"),
        *("javascript:alert(1)", "/a/b/c", "/posts?x=//evil", "/\n/evil", " /posts", '/"><b>'),
    ],
)
async def test_signing_in_leads_nowhere_else(browser: Browser, next_: str):
    form = (await browser.client.get("/login", params={"next": next_})).text
    assert 'name="next"' not in form
    data = {"key": browser.keys["admin"], "next": next_}
    answer = await browser.client.post("/login", data=data)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_an_admin_key_opens_a_session_whose_cookie_is_out_of_reach(browser: Browser):
    answer = await browser.sign_in()
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/", f"Max-Age={SESSION_S:.0f}"} <= set(
        cookie.split("; ")
    )
    assert browser.keys["admin"] not in cookie
    assert digest_of(browser.keys["admin"]).decode() not in cookie
    assert "What waits" in (await browser.client.get("/")).text


@pytest.mark.parametrize("proto", ["https", "http"])
async def test_behind_tls_the_cookie_is_for_tls_and_this_host_alone(browser: Browser, proto: str):
    cookie = (await browser.sign_in(**{"X-Forwarded-Proto": proto})).headers["set-cookie"]
    assert cookie.startswith(f"{SECURE_COOKIE}=") is (proto == "https")
    assert ("Secure" in cookie.split("; ")) is (proto == "https")


@pytest.mark.parametrize(
    ("key", "status", "said"),
    [
        ("publish", 403, "lacks the scope"),
        ("read", 403, "lacks the scope"),
        ("mk_" + "wrong" * 9, 401, "not one of ours"),
        ("a token", 422, "begins with mk_"),
        ("", 422, "begins with mk_"),
    ],
)
async def test_nothing_but_an_admin_key_signs_in(
    browser: Browser, key: str, status: int, said: str
):
    answer = await browser.sign_in(key)
    assert answer.status_code == status
    assert said in answer.text
    assert "set-cookie" not in answer.headers
    assert (await browser.client.get("/")).status_code == 303


async def test_a_session_opens_the_api_to_a_page_of_ours_alone(browser: Browser):
    await browser.sign_in()
    csrf = await browser.csrf()
    for wrong in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": csrf[:-1]}, {"X-CSRF-Token": "é"}):
        headers = {name: value.encode("latin-1") for name, value in wrong.items()}
        answer = await browser.client.get("/v1/stats", headers=headers)
        assert answer.status_code == 403, wrong
        answer = await browser.client.put("/v1/users/a/friends/b", headers=headers)
        assert answer.status_code == 403, wrong
    right = {"X-CSRF-Token": csrf}
    assert (await browser.client.get("/v1/stats", headers=right)).status_code == 200
    answer = await browser.client.put("/v1/users/a/friends/b", headers=right)
    assert answer.status_code == 204


async def test_the_token_of_one_session_is_none_for_another(browser: Browser):
    await browser.sign_in()
    first = await browser.csrf()
    browser.client.cookies.clear()
    await browser.sign_in()
    answer = await browser.client.get("/v1/stats", headers={"X-CSRF-Token": first})
    assert answer.status_code == 403


async def test_a_key_in_the_request_counts_more_than_a_session(browser: Browser):
    await browser.sign_in()
    bearer = {"Authorization": f"Bearer {browser.keys['publish']}"}
    assert (await browser.client.get("/v1/stats", headers=bearer)).status_code == 403


async def test_a_session_ends_by_itself(browser: Browser):
    await browser.sign_in()
    csrf = {"X-CSRF-Token": await browser.csrf()}
    browser.clock.ms += round(SESSION_S * 1000) - 1
    assert (await browser.client.get("/v1/stats", headers=csrf)).status_code == 200
    browser.clock.ms += 1
    assert (await browser.client.get("/v1/stats", headers=csrf)).status_code == 401
    assert (await browser.client.get("/")).status_code == 303


async def test_a_session_ends_with_the_key_it_was_opened_with(browser: Browser):
    await browser.sign_in()
    csrf = {"X-CSRF-Token": await browser.csrf()}
    listed = (await browser.client.get("/v1/keys", headers=csrf)).json()["items"]
    [admin] = [key["id"] for key in listed if Scope.ADMIN in key["scopes"]]
    answer = await browser.client.delete(f"/v1/keys/{admin}", headers=csrf)
    assert answer.status_code == 204
    assert (await browser.client.get("/v1/stats", headers=csrf)).status_code == 401
    assert (await browser.client.get("/")).status_code == 303


async def test_signing_out_takes_the_cookie_back_and_no_other_site_can_do_it(browser: Browser):
    await browser.sign_in()
    csrf = await browser.csrf()
    for forged in ({}, {"csrf": csrf + "x"}):
        assert (await browser.client.post("/logout", data=forged)).status_code == 403
        assert (await browser.client.get("/")).status_code == 200
    # To another site's form browsers add no cookie; what answers it must not end the session.
    foreign = await browser.client.post("/logout", headers={"Cookie": ""})
    assert (foreign.status_code, foreign.headers.get("set-cookie")) == (303, None)
    answer = await browser.client.post("/logout", data={"csrf": csrf})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert (await browser.client.get("/")).status_code == 303


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://api"}, 303),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://other.api"}, 403),
        ({"Origin": "http://api"}, 303),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
async def test_no_other_site_signs_its_visitors_in(
    browser: Browser, headers: dict[str, str], status: int
):
    answer = await browser.sign_in(**headers)
    assert answer.status_code == status
    assert ("set-cookie" in answer.headers) is (status == 303)


async def test_a_cookie_that_was_changed_is_none(browser: Browser):
    await browser.sign_in()
    [(name, value)] = browser.client.cookies.items()
    browser.client.cookies.clear()
    changed = value[:-5] + ("A" if value[-5] != "A" else "B") + value[-4:]
    said = {"key": digest_of(browser.keys["admin"]).decode(), "csrf": "x", "ends": 1 << 50}
    plain = base64.urlsafe_b64encode(json.dumps(said).encode()).decode()
    for wrong in ("", "x", "a" * 5_000, value[:-1], changed, plain, f'"{value}', "=;=", "\udcff"):
        raw = f"{name}={wrong}".encode("utf-8", "surrogateescape")
        answer = await browser.client.get("/", headers={b"cookie": raw})
        assert answer.status_code == 303, wrong
    answer = await browser.client.get("/", headers={"cookie": f"{name}={value}"})
    assert answer.status_code == 200


async def test_what_was_sealed_for_something_else_is_no_session():
    sessions = Sessions(SEALER, session_s=60)
    begun = sessions.begin(b"0" * 64)
    assert sessions.find(f"{COOKIE}={begun}".encode()) is not None
    assert Sessions(Sealer(b"1" * 32), session_s=60).find(f"{COOKIE}={begun}".encode()) is None


PARTS = ["/moments", "/login", "/console/console.css", "/console/post.js", "/console/no.css"]


@pytest.mark.parametrize("path", [*(page.path for page in PAGES), *PARTS])
async def test_pages_load_nothing_from_elsewhere_and_run_no_script_inside_them(
    browser: Browser, path: str
):
    await browser.sign_in()
    answer = await browser.client.get(_path(path))
    policy = dict(
        rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; ")
    )
    assert policy.pop("default-src") == "'none'"
    assert policy.pop("frame-ancestors") == policy.pop("base-uri") == "'none'"
    assert set(policy.values()) == {"'self'"}
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|style=|https?://", answer.text)


async def test_every_part_that_a_page_asks_for_is_there(browser: Browser):
    await browser.sign_in()
    wanted = set()
    for page in ("/login", "/moments", *(page.path for page in PAGES)):
        text = (await browser.client.get(_path(page))).text
        parts = set(re.findall(r'(?:src|href)="(/console/[^"]+)"', text))
        assert parts
        wanted |= parts
    types = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    seen: set[str] = set()
    while wanted - seen:
        part = (wanted - seen).pop()
        seen.add(part)
        answer = await browser.client.get(part)
        assert answer.status_code == 200, part
        assert answer.headers["content-type"].startswith(types[part.rpartition(".")[2]])
        if part.endswith(".js"):
            imports = re.findall(r'from "\./([\w.-]+)"', answer.text)
            wanted |= {f"/console/{name}" for name in imports}
    assert len(seen) > 10


async def test_a_form_that_is_too_large_is_refused(browser: Browser):
    answer = await browser.sign_in("mk_" + "a" * FORM_BYTES_MAX)
    assert answer.status_code == 413
    assert "too large" in answer.text


async def test_what_is_typed_comes_back_nowhere(browser: Browser):
    for typed in ("<b>mk_</b>", "mk_" + "<i>guess</i>" * 3):
        assert typed not in (await browser.sign_in(typed)).text


async def test_without_sessions_a_cookie_opens_nothing(browser: Browser, single_store: Store):
    await browser.sign_in()
    csrf = {"X-CSRF-Token": await browser.csrf()}
    without = create_app(replace(make_services(single_store), sessions=None))
    transport = httpx.ASGITransport(without)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://api", cookies=browser.client.cookies
    ) as client:
        assert (await client.get("/v1/stats", headers=csrf)).status_code == 401
        assert (await client.get("/login")).status_code == 404
