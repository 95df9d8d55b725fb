"""The reference in a browser: it is as wide as a phone, and nothing hides what was chosen."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.looks import PHONE, SCREENSHOTS, audit
from tests.browser.site import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_reference_is_no_wider_than_a_phone(service: Site, page: Page):
    await page.set_viewport_size(PHONE)
    await page.goto(f"{service.url}/docs")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Reference")
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert await audit(page, "target-size") == []
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=SCREENSHOTS / "reference-phone.png")  # its whole length tells little


async def test_what_is_chosen_from_the_contents_is_not_under_the_head(service: Site, page: Page):
    await page.goto(f"{service.url}/docs")
    contents = page.get_by_role("navigation", name="Contents")
    await contents.get_by_role("link", name="Refusals").click()
    heading = page.get_by_role("heading", name="Refusals")
    await expect(heading).to_be_in_viewport()
    head = await page.get_by_role("banner").bounding_box()
    place = await heading.bounding_box()
    assert head
    assert place
    assert place["y"] >= head["y"] + head["height"]
    await page.emulate_media(color_scheme="dark")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=SCREENSHOTS / "reference-dark.png")
