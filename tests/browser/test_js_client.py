"""The JavaScript client in a page of somebody's application, at another origin than the gateway."""

import json
from collections.abc import AsyncIterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import pytest_asyncio
from playwright.async_api import Page

from tests.browser.complaints import Complaints
from tests.browser.site import Site
from tests.browser.windows import Windows
from tests.clients.gateways import Restartable, restartable
from tests.clients.node import CLIENT
from tests.clients.test_js_client import ENCODINGS, post_and_settle, token_of
from tests.opened_store import opened
from tests.wait import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = b'<!doctype html><html lang="en"><link rel="icon" href="data:,"><title>An application'

# What the application does. It keeps in `sessionStorage` what it has seen, with its position.
START = """async ({url, token, encoding, options}) => {
    const {MomentsClient} = await import("/moments.js");
    const {msgpack} = await import("/msgpack.js");
    const kept = (name, none) => JSON.parse(sessionStorage.getItem(name)) ?? none;
    const seen = kept("seen", []);
    window.states = [];
    window.client = new MomentsClient({
        url,
        token: async () => token,
        position: kept("position", null),
        onPosition: (position) => sessionStorage.setItem("position", JSON.stringify(position)),
        handle: ({offset, post}) => {
            seen.push([offset, post.id]);
            sessionStorage.setItem("seen", JSON.stringify(seen));
        },
        ...(encoding === "msgpack" ? {codec: msgpack} : {}),
        ...options,
    });
    client.addEventListener("state", ({detail}) => states.push(detail));
    client.connect();
}"""


class _Files(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path != "/":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_: object) -> None:
        """Nothing: the test says what went wrong."""


@pytest.fixture(scope="module")
def application() -> str:
    """The address of an application, which has the client among its files."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(CLIENT)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest_asyncio.fixture(loop_scope="session")
async def gateway(
    service: Site, single_store_url: str, complaints: Complaints
) -> AsyncIterator[Restartable]:
    await service.befriend(("alice", "bob"))
    complaints.expect("WebSocket connection to .* failed")  # chromium tells of each that it tries
    async with opened(single_store_url) as store, restartable(store) as gateway:
        yield gateway


async def start(
    page: Page, gateway: Restartable, encoding: str = "json", *, token: str = "", **options: object
) -> None:
    """The client in the page that is shown."""
    token = token or token_of("bob")
    given = {"url": gateway.url, "token": token, "encoding": encoding, "options": options}
    await page.evaluate(START, given)


async def has_seen(page: Page, posts: list[str]) -> None:
    """The page has seen these posts so far: all of them, in order, and once."""
    await page.wait_for_function(
        "count => JSON.parse(sessionStorage.getItem('seen'))?.length >= count", arg=len(posts)
    )
    seen = json.loads(await page.evaluate("sessionStorage.getItem('seen')"))
    assert seen == [[offset, post] for offset, post in enumerate(posts, 1)]


async def is_in(page: Page, state: str) -> None:
    await page.wait_for_function("state => client.status.state === state", arg=state)


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_whoever_was_offline_gets_all_that_was_missed(
    page: Page, service: Site, gateway: Restartable, application: str, encoding: str
):
    await page.goto(application)
    await start(page, gateway, encoding)
    await is_in(page, "open")
    posts = await post_and_settle(service, 3)
    await has_seen(page, posts)
    await page.context.set_offline(True)
    gateway.cut()
    await is_in(page, "waiting")
    posts += await post_and_settle(service, 10)
    await page.wait_for_function("states.at(-1).attempt >= 3")  # it tries, and cannot
    await page.context.set_offline(False)
    await has_seen(page, posts)
    posts += await post_and_settle(service, 1)
    await has_seen(page, posts)


async def test_a_page_goes_on_where_it_was_after_a_reload(
    page: Page, service: Site, gateway: Restartable, application: str
):
    await page.goto(application)
    posts: list[str] = []
    for _ in range(3):
        await start(page, gateway, ack="explicit")
        await is_in(page, "open")
        posts += await post_and_settle(service, 2)
        await has_seen(page, posts)
        await service.settled(posts[-1], "bob", "delivered", "socket")
        await page.reload()
        posts += await post_and_settle(service, 2)


async def test_who_looks_at_a_page_again_does_not_wait(
    page: Page, gateway: Restartable, application: str
):
    await page.goto(application)
    await page.evaluate("Math.random = () => 0.999999")  # the longest waits there are
    await start(page, gateway)
    await is_in(page, "open")
    await page.context.set_offline(True)
    gateway.cut()
    # Heard behind the client's own listener: what that has made of it.
    await page.evaluate("addEventListener('online', () => { window.then = client.status; })")
    await page.wait_for_function("client.status.attempt === 3 && client.status.retryInMs > 1000")
    await page.context.set_offline(False)
    then = await (await page.wait_for_function("window.then")).json_value()
    assert then["state"] == "connecting" or then["retryInMs"] <= 500
    await is_in(page, "open")


async def test_windows_of_one_user_each_get_everything(
    windows: Windows, service: Site, gateway: Restartable, application: str
):
    pages = [await windows.open() for _ in range(2)]
    for page in pages:
        await page.goto(application)
        await start(page, gateway)
        await is_in(page, "open")
    posts = await post_and_settle(service, 5)
    for page in pages:
        await has_seen(page, posts)


async def test_a_page_is_told_why_it_is_not_let_in(
    page: Page, gateway: Restartable, application: str
):
    await page.goto(application)
    await start(page, gateway, token="not.a.token")
    await is_in(page, "closed")
    status = await page.evaluate("client.status")
    assert status["code"] == 4501
    assert "does not hold" in status["reason"]
    await wait_until(lambda: gateway.gateway.stats.sockets_open == 0)
