"""The whole service with its console on a port, as browsers find it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Page

from app.api.sessions import COOKIE
from app.console.socket import PATH
from app.store.apikeys import digest_of
from app.store.client import Store
from tests.api.conftest import Api
from tests.api.served import served
from tests.flows.service import ADMIN_KEY, Service, serve


class Site(Service):
    """A service whose api and console answer at `url`."""

    url: str


@asynccontextmanager
async def open_site(store: Store, **changes: object) -> AsyncIterator[Site]:
    """Api with console, gateway and worker on `store`; `changes` are settings."""
    async with serve(store, make=Site, **changes) as site:
        api = Api(site.services, site.app, site.http, {"admin": ADMIN_KEY})
        async with served(api, app=site.app, socket_path=PATH) as on_port:
            site.url = on_port.base
            yield site


async def let_in(page: Page, site: Site) -> None:
    """Gives the browser a session, as the form does, without the way there."""
    assert site.services.sessions is not None
    value = site.services.sessions.begin(digest_of(ADMIN_KEY))
    await page.context.add_cookies([{"name": COOKIE, "value": value, "url": site.url}])


async def sign_in(page: Page, site: Site) -> None:
    """As somebody does it: with the admin key, by the form."""
    await page.goto(f"{site.url}/login")
    await page.get_by_label("Admin key").fill(ADMIN_KEY)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(f"{site.url}/")
