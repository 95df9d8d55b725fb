"""A page's complaints are heard, whatever kind they are: else no test of a page could fail."""

import pytest
from playwright.async_api import Page

from tests.browser.complaints import Complaints
from tests.browser.looks import audit
from tests.wait import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("console.error('an error')", "console: an error"),
        ("setTimeout(() => { throw Error('thrown') })", "exception: thrown"),
        ("Promise.reject(Error('refused'))", "exception: refused"),
        ("fetch('http://127.0.0.1:1/').catch(() => {})", "request: GET http://127.0.0.1:1/"),
    ],
)
async def test_what_goes_wrong_is_heard(page: Page, complaints: Complaints, script: str, told: str):
    await page.evaluate(f"() => {{ {script} }}")
    heard = await wait_until(complaints.unexpected)
    assert any(told in text for text in heard), heard
    complaints.expect(".")  # of this test alone, whose page is bad on purpose


async def test_what_is_expected_is_no_fault_and_nothing_else_is_forgiven(
    page: Page, complaints: Complaints
):
    complaints.expect("^console: foreseen")
    await page.evaluate("() => { console.error('foreseen'); console.error('a surprise') }")
    assert len(await wait_until(complaints.unexpected)) == 1
    complaints.expect("a surprise")
    assert complaints.unexpected() == []


async def test_a_page_that_not_everybody_can_use_is_found(page: Page):
    await page.set_content("<html lang=en><title>t</title><main><h1>h</h1><input></main>")
    [violation] = await audit(page)
    assert violation.startswith("label (critical)")
    assert "<input>" in violation
    await page.set_content(
        "<html lang=en><title>t</title><main><h1>h</h1><label>name <input></label></main>"
    )
    assert await audit(page) == []
