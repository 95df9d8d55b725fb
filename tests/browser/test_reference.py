"""The reference in a browser: its looks on a screen, in the dark and on a phone."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.looks import shoot_all
from tests.browser.site import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_reference_can_be_read_everywhere(service: Site, page: Page):
    await page.goto(f"{service.url}/docs")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Reference")
    await shoot_all(page, "reference")


async def test_what_is_chosen_from_the_contents_is_not_under_the_head(service: Site, page: Page):
    await page.goto(f"{service.url}/docs")
    contents = page.get_by_role("navigation", name="Contents")
    await contents.get_by_role("link", name="Refusals").click()
    heading = page.get_by_role("heading", name="Refusals")
    await expect(heading).to_be_in_viewport()
    head = await page.get_by_role("banner").bounding_box()
    place = await heading.bounding_box()
    assert head and place
    assert place["y"] >= head["y"] + head["height"]
