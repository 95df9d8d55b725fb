"""The live page: what runs and what is delivered, as it happens."""

import pytest
from playwright.async_api import Page, WebSocketRoute, expect

from tests.browser.looks import shoot_all
from tests.browser.site import Site
from tests.flows.service import ADMIN_KEY
from tests.receivers import Receiver
from tests.wait import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_it_shows_who_runs_and_what_is_delivered_while_it_is(signed_in: Page, service: Site):
    await expect(signed_in.locator("#said")).to_have_text("Live")
    processes = signed_in.get_by_role("region", name="Processes")
    for role in ("api", "gateway", "worker"):
        await expect(processes.get_by_role("cell", name=role, exact=True)).to_be_visible()
    leases = signed_in.get_by_role("region", name="Who owns which shard")
    await expect(leases.get_by_role("row", name="sender")).not_to_contain_text("nobody")
    await expect(signed_in.get_by_role("heading", name="No worker runs")).to_be_hidden()
    figures = signed_in.get_by_role("region", name="Now")
    async with Receiver() as receiver, service.socket("bob"):
        await service.register("bob", receiver.url)
        await service.befriend(("ann", "bob"))
        await expect(figures.locator("#sockets")).to_have_text("1")
        for _ in range(5):
            await service.post("ann")
        await expect(figures.locator("#rate-webhook")).not_to_have_text("0")
        await expect(figures.locator("#rate-socket")).not_to_have_text("0")
        await expect(figures.locator("#p99")).to_contain_text("ms")
        await expect(
            signed_in.get_by_role("img", name="webhooks and sockets").first
        ).to_be_visible()
        delivered = signed_in.locator("#process-list tr", has_text="worker").locator("td").nth(5)
        await expect(delivered).to_have_text("5")
        await shoot_all(signed_in, "live")


async def test_a_page_that_is_cut_off_comes_back_and_one_that_is_signed_out_leaves(
    signed_in: Page, service: Site
):
    opened: list[WebSocketRoute] = []

    def route(socket: WebSocketRoute) -> None:
        opened.append(socket)
        socket.connect_to_server()

    await signed_in.route_web_socket("**/console/socket", route)
    await signed_in.reload()
    said = signed_in.locator("#said")
    await expect(said).to_have_text("Live")
    await opened[0].close(code=1012, reason="restart")
    await wait_until(lambda: len(opened) == 2)
    await expect(said).to_have_text("Live")

    other = await signed_in.context.new_page()
    await other.goto(f"{service.url}/posts")
    await other.get_by_role("button", name="Sign out").click()
    await signed_in.wait_for_url("**/login")
    await signed_in.goto(f"{service.url}/dead-letters")
    await sign_in(signed_in)
    await signed_in.wait_for_url("**/dead-letters")


async def sign_in(page: Page) -> None:
    """By the form that the page has led to."""
    await page.get_by_label("Admin key").fill(ADMIN_KEY)
    await page.get_by_role("button", name="Sign in").click()
