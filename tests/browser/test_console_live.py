"""The live page: what runs and what is delivered, as it happens."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.looks import shoot_all
from tests.browser.site import Site
from tests.receivers import Receiver

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
