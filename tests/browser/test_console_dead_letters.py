"""The page of dead letters: filtered, replayed one by one, and all after a question."""

from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.looks import audit, shoot_all
from tests.browser.site import Site
from tests.receivers import Receiver, status

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def die(service: Site, receiver: Receiver, *users: str) -> dict[str, Any]:
    """A post whose deliveries to these users were given up; their endpoints, by user."""
    made = {}
    for user in users:
        made[user] = await service.register(user, receiver.url, retry_schedule_s=[])
        await service.befriend(("ann", user))
    post = await service.post("ann")
    for user in users:
        await service.settled(post["id"], user, "dead")
    return made


async def test_they_are_filtered_and_replayed(signed_in: Page, service: Site):
    await signed_in.get_by_role("link", name="Dead letters").click()
    await expect(signed_in.get_by_role("heading", name="Nothing was given up")).to_be_visible()
    await expect(signed_in.get_by_role("button", name="Replay")).to_be_disabled()
    assert await audit(signed_in) == []
    async with Receiver(default=status(500)) as receiver:
        endpoints = await die(service, receiver, "bob", "cyd", "dan")
        await signed_in.get_by_role("button", name="Look again").click()
        rows = signed_in.locator("#letter-list").get_by_role("row")
        await expect(rows).to_have_count(3)
        await expect(rows.first).to_contain_text("http_5xx · 500")
        await shoot_all(signed_in, "dead-letters")
        receiver.default = status(200)

        await signed_in.get_by_label("Endpoint").fill("nonsense")
        await signed_in.get_by_role("button", name="Filter").click()
        await expect(signed_in.get_by_role("alert")).to_contain_text("10 letters and digits")
        await signed_in.get_by_label("Endpoint").fill(endpoints["cyd"]["id"])
        await signed_in.get_by_role("button", name="Filter").click()
        await expect(rows).to_have_count(1)
        await expect(rows.first).to_contain_text("cyd")
        await rows.first.get_by_role("button", name="Replay to cyd").click()
        await expect(rows).to_have_count(0)

        await signed_in.get_by_label("Endpoint").fill("")
        await signed_in.get_by_label("Died since").fill("2099-01-01T00:00")
        await signed_in.get_by_role("button", name="Filter").click()
        await expect(signed_in.locator("#no-letters-why")).to_contain_text("Nothing like that")
        await signed_in.get_by_label("Died since").fill("2001-01-01T00:00")
        await signed_in.get_by_role("button", name="Filter").click()
        await expect(rows).to_have_count(2)

        await signed_in.get_by_role("button", name="Replay these").click()
        dialog = signed_in.get_by_role("dialog")
        await expect(dialog).to_contain_text("2 deliveries, since")
        await dialog.get_by_role("button", name="Cancel").click()
        await expect(rows).to_have_count(2)
        await signed_in.get_by_role("button", name="Replay these").click()
        await dialog.get_by_role("button", name="Replay 2").click()
        await expect(rows).to_have_count(0)
