"""A browser for the tests of this folder: Debian's chromium, driven by Playwright.

Playwright's objects belong to the loop they were made on, so that everything here lives on the
session's: each file of tests has `pytestmark = pytest.mark.asyncio(loop_scope="session")`, and each
async fixture `@pytest_asyncio.fixture(loop_scope="session")`. One browser serves all tests of a
process; each test has contexts of its own in it: cookies and storage of nobody else.

What a page complains of (an error in the console, an exception, a request that failed) fails the
test at its end, unless the test has said that it expects it: `complaints.expect("401")`.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.browser.complaints import Complaints
from tests.browser.site import Site, open_site, sign_in
from tests.browser.windows import WAIT_MS, Windows, find_chromium
from tests.opened_store import opened

ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")

expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the browser."""
    return find_chromium()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium, headless=True, args=ARGUMENTS
        )
        yield browser
        await browser.close()


@pytest.fixture
def complaints() -> Complaints:
    """What the pages of this test complain of."""
    return Complaints()


@pytest.fixture
def _service_first(request: pytest.FixtureRequest) -> None:
    """A service that the test has is to outlive its windows, which would complain of its end."""
    if "service" in request.fixturenames:
        request.getfixturevalue("service")


@pytest_asyncio.fixture(loop_scope="session")
async def windows(
    browser: Browser, complaints: Complaints, _service_first: None
) -> AsyncIterator[Windows]:
    async with AsyncExitStack() as open_:
        yield Windows(browser, complaints, open_)
        complaints.stop_listening()
    assert complaints.unexpected() == []


@pytest_asyncio.fixture(loop_scope="session")
async def page(windows: Windows) -> Page:
    """An empty window."""
    return await windows.open()


@pytest_asyncio.fixture(loop_scope="session")
async def service(
    request: pytest.FixtureRequest, chromium: str, single_store_url: str
) -> AsyncIterator[Site]:
    """The whole service on an empty store, its console at `service.url`. A parameter of it has
    changes to its settings."""
    async with opened(single_store_url) as store:
        await store.broadcast("FLUSHALL")
        async with open_site(store, **getattr(request, "param", {})) as site:
            yield site


@pytest_asyncio.fixture(loop_scope="session")
async def signed_in(page: Page, service: Site) -> Page:
    """A window of somebody who has signed in to the console."""
    await sign_in(page, service)
    return page
