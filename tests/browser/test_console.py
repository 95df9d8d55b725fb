"""The console in a browser: no page complains, and everybody can use each."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.complaints import Complaints
from tests.browser.looks import audit, shoot_all
from tests.browser.site import Site, sign_in
from tests.browser.windows import Windows

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_whoever_is_not_signed_in_is_asked_for_a_key(page: Page, service: Site):
    await page.goto(service.url)
    await expect(page.get_by_label("Admin key")).to_be_focused()
    await shoot_all(page, "sign-in")


async def test_a_wrong_key_is_told_and_can_be_corrected(
    page: Page, service: Site, complaints: Complaints
):
    complaints.expect("422")
    await page.goto(service.url)
    await page.keyboard.type("a password")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_have_text("An API key begins with mk_.")
    assert await audit(page) == []
    await sign_in(page, service)


async def test_a_session_of_one_window_is_none_in_another(
    signed_in: Page, windows: Windows, service: Site
):
    other = await windows.open()
    await other.goto(service.url)
    assert other.url == f"{service.url}/login"
    await signed_in.get_by_role("button", name="Sign out").click()
    await signed_in.wait_for_url("**/login")
    await signed_in.goto(service.url)
    assert signed_in.url == f"{service.url}/login"
