"""The pages of endpoints: finding one, how it is, and everything that can be done about it."""

import re

import pytest
from playwright.async_api import Page, expect

from tests.browser.complaints import Complaints
from tests.browser.looks import audit, shoot_all
from tests.browser.site import Site
from tests.receivers import Receiver, status

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def find(page: Page, wanted: str) -> None:
    field = page.get_by_label("User or endpoint id")
    await field.fill(wanted)
    await field.press("Enter")


async def test_endpoints_are_found_by_their_user_or_id(
    signed_in: Page, service: Site, complaints: Complaints
):
    one = await service.register("bob", "https://93.184.216.34/one")
    await service.register("bob", "https://93.184.216.34/two")
    await signed_in.get_by_role("link", name="Endpoints").click()
    await expect(signed_in.locator("#state-list")).to_contain_text("active2")
    await find(signed_in, "bob")
    rows = signed_in.locator("#endpoint-list").get_by_role("row")
    await expect(rows).to_have_count(2)
    await expect(rows.first).to_contain_text("active")
    await shoot_all(signed_in, "endpoints")
    await find(signed_in, "cyd")
    await expect(signed_in.get_by_role("heading", name="None is registered")).to_be_visible()
    await expect(signed_in.locator("[data-command=endpoint]")).to_contain_text('"user": "cyd"')
    assert await audit(signed_in) == []
    await find(signed_in, "not a user")
    await expect(signed_in.get_by_role("alert")).to_contain_text("1 to 64")
    await find(signed_in, one["id"])
    await signed_in.wait_for_url(f"**/endpoints/{one['id']}")
    complaints.expect("404")
    # An id as of an endpoint may be a user's.
    await service.register("ky77tv2v00", "https://93.184.216.34/")
    await signed_in.goto(f"{service.url}/endpoints")
    await find(signed_in, "ky77tv2v00")
    await expect(signed_in.locator("#endpoint-list").get_by_role("row")).to_have_count(1)
    await signed_in.goto(f"{service.url}/endpoints/ky77tv2v00")
    await expect(signed_in.get_by_role("heading", name="There is no such endpoint")).to_be_visible()
    assert await audit(signed_in) == []


async def test_a_ping_is_kept_and_a_new_secret_is_shown_once_after_a_question(
    signed_in: Page, service: Site
):
    async with Receiver(default=status(200, body=b"<b>fine</b>")) as receiver:
        endpoint = await service.register("bob", receiver.url, description="Bob's reader")
        await signed_in.goto(f"{service.url}/endpoints/{endpoint['id']}")
        await expect(
            signed_in.get_by_role("heading", name="Nothing was sent there")
        ).to_be_visible()
        assert await audit(signed_in) == []
        await signed_in.get_by_role("button", name="Ping").click()
        await expect(signed_in.locator("#outcome")).to_contain_text("answered with 200")
        rows = signed_in.locator("#attempt-list").get_by_role("row")
        await expect(rows).to_have_count(1)
        await expect(rows.first).to_contain_text("<b>fine</b>")
        name = re.compile("1 attempts, half of them within .*, 0 failed")
        await expect(signed_in.get_by_role("img", name=name)).to_be_visible()
        await expect(signed_in.locator("#health")).to_have_text("active")
        await shoot_all(signed_in, "endpoint")
    rotate = signed_in.get_by_role("button", name="Rotate the secret")
    dialog = signed_in.get_by_role("dialog")
    await rotate.click()
    assert await audit(signed_in) == []
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(signed_in.locator("#secret")).to_be_hidden()
    await rotate.click()
    await dialog.get_by_role("button", name="Rotate").click()
    shown = signed_in.locator("#secret-text")
    await expect(shown).to_contain_text("whsec_")
    await expect(shown).not_to_contain_text(endpoint["secret"])
    await signed_in.reload()
    await expect(signed_in.locator("#facts")).to_contain_text("Bob's reader")
    await expect(signed_in.locator("#secret")).to_be_hidden()


@pytest.mark.parametrize(
    "service", [{"breaker_failures": 2, "retry_schedule_s": "0.01,0.01,60"}], indirect=True
)
async def test_one_that_fails_is_enabled_and_recovered(signed_in: Page, service: Site):
    async with Receiver(default=status(410)) as receiver:
        endpoint = await service.register("bob", receiver.url)
        await service.befriend(("ann", "bob"))
        post = await service.post("ann")
        await signed_in.goto(f"{service.url}/endpoints/{endpoint['id']}")
        await expect(signed_in.locator("#health")).to_have_text("disabled")
        await expect(signed_in.locator("#why")).to_contain_text("Is sent nothing")
        assert await audit(signed_in) == []
        receiver.default = status(200)
        await signed_in.get_by_role("button", name="Enable").click()
        await expect(signed_in.locator("#health")).to_have_text("active")
        await expect(signed_in.get_by_role("button", name="Enable")).to_be_hidden()
        await signed_in.get_by_label("Send again what did not get there").fill("2026-01-01T00:00")
        await signed_in.get_by_role("button", name="Recover").click()
        await expect(signed_in.locator("#outcome")).to_contain_text("sent again")
        await service.settled(post["id"], "bob", "delivered")


@pytest.mark.parametrize(
    "service", [{"verify_endpoints": True, "verify_schedule_s": ""}], indirect=True
)
async def test_one_that_has_to_be_verified_is_sent_a_challenge(signed_in: Page, service: Site):
    async with Receiver() as receiver:
        endpoint = await service.register("bob", receiver.url)
        await signed_in.goto(f"{service.url}/endpoints/{endpoint['id']}")
        await expect(signed_in.locator("#health")).to_have_text("unverified")
        await expect(signed_in.get_by_role("button", name="Ping")).to_be_hidden()
        assert await audit(signed_in) == []
        challenge = signed_in.get_by_role("button", name="Send a challenge")
        await challenge.click()
        await expect(signed_in.locator("#outcome")).to_contain_text("failed: challenge")
        receiver.echoes = True
        await challenge.click()
        await expect(signed_in.locator("#health")).to_have_text("active")
