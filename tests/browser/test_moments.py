"""The Moments page: two people in two windows, as the README tells it."""

from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from app.domain.socket_url import Sockets
from scripts.bench.moments_page import measure, told
from tests.browser.complaints import Complaints
from tests.browser.looks import SCREENSHOTS, audit, shoot, shoot_all
from tests.browser.site import Site, let_in
from tests.browser.windows import Windows
from tests.flows.service import ADMIN_KEY
from tests.wait import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")

REPORTS = SCREENSHOTS.parent
PUSHED_MAX_MS = 5_000  # what the machine of a test may take; the figure itself is kept


async def enter(page: Page, site: Site, user: str) -> Page:
    """The window of somebody who has signed in, once it is live."""
    await page.goto(f"{site.url}/moments#{user}")
    await expect(page.get_by_role("heading", name=user)).to_be_visible()
    await expect(page.locator("#state")).to_have_text("Live")
    return page


async def post(page: Page, text: str) -> None:
    await page.get_by_label("What is happening?").fill(text)
    await page.get_by_role("button", name="Post", exact=True).click()
    await expect(moment(page, text)).to_be_visible()


def moment(page: Page, text: str) -> Locator:
    return page.get_by_role("listitem").filter(has=page.get_by_text(text, exact=True))


async def received(page: Page) -> list[tuple[int, str]]:
    """Offsets and texts of what came in, the oldest first."""
    found: list[Any] = await page.locator(".moment[data-offset]").evaluate_all(
        "all => all.map(one => [+one.dataset.offset, one.querySelector('.text').textContent])"
    )
    return [(offset, text) for offset, text in reversed(found)]


async def shown(page: Page, newest: str) -> list[tuple[int, str]]:
    """The same, once the newest one is there."""
    await expect(moment(page, newest)).to_be_visible()
    return await received(page)


async def has_offset(site: Site, user: str, offset: int) -> bool:
    return (await site.call("GET", f"/users/{user}/feed?limit=1"))["head_offset"] >= offset


async def recipients(page: Page, text: str) -> dict[str, str]:
    """State by recipient, of one's own post whose list is open."""
    found: list[Any] = (
        await moment(page, text)
        .locator("[data-recipient]")
        .evaluate_all("all => all.map(one => [one.dataset.recipient, one.dataset.state])")
    )
    return dict(found)


@pytest_asyncio.fixture(loop_scope="session")
async def ann(page: Page, service: Site) -> Page:
    await service.befriend(("ann", "bob"))
    await let_in(page, service)
    return await enter(page, service, "ann")


@pytest_asyncio.fixture(loop_scope="session")
async def bob(ann: Page, windows: Windows, service: Site) -> Page:
    """A second window, of whoever has signed in. Two tabs of one window would not do: a browser
    draws the one in front."""
    session = await ann.context.storage_state()
    return await enter(await windows.open(storage_state=session), service, "bob")


async def test_one_chooses_who_one_is_makes_friends_and_opens_their_window(
    page: Page, service: Site
):
    await page.goto(f"{service.url}/moments")
    await page.get_by_label("Admin key").fill(ADMIN_KEY)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Who are you today?")).to_be_visible()
    await shoot_all(page, "moments-welcome")
    await page.get_by_role("link", name="ann").press("Enter")
    await expect(page.locator("#state")).to_have_text("Live")
    await expect(page.get_by_text("Nothing here yet.")).to_be_visible()

    await page.get_by_role("button", name="Befriend bob").press("Enter")
    long = "z" * 64
    await page.get_by_label("Befriend", exact=True).fill(long)
    await page.keyboard.press("Enter")
    friends = page.get_by_role("region", name="Friends")
    await expect(friends.get_by_role("link", name=f"Window of {long}")).to_be_visible()
    assert (await service.call("GET", "/users/ann/friends"))["items"] == ["bob", long]
    await shoot_all(page, "moments-friends")
    await page.get_by_label("Befriend", exact=True).fill("zoë")
    await page.get_by_role("button", name="Add").click()  # not a name: the field says so
    await expect(page.locator("#friend:invalid")).to_have_value("zoë")

    async with page.context.expect_page() as opened:
        await friends.get_by_role("link", name="Window of bob").click()
    bob = await opened.value
    await expect(bob.get_by_role("heading", name="bob")).to_be_visible()
    await expect(bob.get_by_role("region", name="Friends")).to_contain_text("ann")
    await page.bring_to_front()
    await friends.get_by_role("button", name=f"Unfriend {long}").click()
    await expect(friends.get_by_role("link", name=f"Window of {long}")).to_have_count(0)


async def test_a_post_in_one_window_appears_in_the_other(ann: Page, bob: Page):
    took_ms = await measure(ann, bob, posts=3)
    REPORTS.mkdir(parents=True, exist_ok=True)
    (REPORTS / "moments-page.txt").write_text(f"{told(took_ms)}\n")
    assert min(took_ms) > 0
    assert max(took_ms) < PUSHED_MAX_MS
    await expect(moment(bob, "post 2")).to_contain_text("ann")
    await expect(moment(ann, "post 2")).to_contain_text("1 of 1 arrived")
    assert await received(bob) == [(1, "post 0"), (2, "post 1"), (3, "post 2")]
    await shoot(bob, "moments-live")


async def test_whoever_was_offline_for_ten_posts_gets_all_ten_in_order_once(ann: Page, bob: Page):
    await post(ann, "before")
    await expect(moment(bob, "before")).to_be_visible()
    await bob.get_by_role("switch", name="Online").click()
    await expect(bob.locator("#state")).to_have_text("Offline")
    await expect(bob.get_by_label("What is happening?")).to_be_disabled()
    for number in range(1, 11):
        await post(ann, f"number {number}")
    newest = moment(ann, "number 10")
    await expect(newest).to_contain_text("0 of 1 arrived")
    await newest.get_by_role("button", name="0 of 1").click()
    await wait_until(lambda: recipients(ann, "number 10"))
    assert await recipients(ann, "number 10") == {"bob": "pending"}
    assert await received(bob) == [(1, "before")]
    await shoot(bob, "moments-offline")

    await bob.get_by_role("switch", name="Online").click()
    await expect(bob.locator("#missed")).to_have_text(
        "You missed 10 moments while you were away: #2 to #11, in order."
    )
    wanted = [(1, "before"), *((number + 1, f"number {number}") for number in range(1, 11))]
    assert await received(bob) == wanted
    await expect(newest).to_contain_text("1 of 1 arrived")
    assert await recipients(ann, "number 10") == {"bob": "delivered"}
    await shoot_all(bob, "moments-missed")
    assert await audit(ann) == []
    await shoot(ann, "moments-who-got-it")

    await bob.reload()
    await expect(bob.locator("#state")).to_have_text("Live")
    assert await received(bob) == wanted
    await expect(bob.locator("#missed")).to_be_hidden()
    await expect(bob.locator("#position")).to_have_text("#11")


@pytest.mark.parametrize("service", [{"inbox_max": 4, "inbox_keep": 2}], indirect=True)
async def test_what_was_trimmed_away_meanwhile_is_named(ann: Page, bob: Page, service: Site):
    await bob.get_by_role("switch", name="Online").click()
    for number in range(1, 6):
        await service.post("ann", data={"text": f"number {number}"})
    await wait_until(lambda: has_offset(service, "bob", 5))
    await bob.get_by_role("switch", name="Online").click()
    newest = [offset for offset, _ in await shown(bob, "number 5")]
    gone = newest[0] - 1
    await expect(bob.get_by_text(f"#1 to #{gone} are no longer kept.")).to_be_visible()
    await expect(bob.locator("#missed")).to_contain_text(f"{5 - gone} moments while you were away")
    assert newest == list(range(gone + 1, 6))


async def test_a_store_that_was_emptied_begins_the_timeline_anew(page: Page, service: Site):
    await service.befriend(("ann", "bob"))
    await let_in(page, service)
    bob = await enter(page, service, "bob")
    await service.post("ann", data={"text": "before"})
    await shown(bob, "before")
    await service.services.store.broadcast("FLUSHALL")
    await expect(bob.get_by_text("The service has begun anew")).to_be_visible()
    await expect(bob.locator(".moment")).to_have_count(0)

    async def are_friends() -> bool:  # once the api has made the admin key again
        return (await service.http.put("/v1/users/ann/friends/bob")).is_success

    await wait_until(are_friends)
    await service.post("ann", data={"text": "after"})
    assert await shown(bob, "after") == [(1, "after")]
    await expect(bob.locator("#position")).to_have_text("#1")


async def test_a_browser_that_loses_its_network_goes_on_by_itself(
    ann: Page, bob: Page, service: Site
):
    await bob.evaluate("dispatchEvent(new Event('offline'))")
    await expect(bob.locator("#state")).to_have_text("Offline")
    await post(ann, "are you there?")
    await bob.evaluate("dispatchEvent(new Event('online'))")
    await expect(moment(bob, "are you there?")).to_contain_text("missed")
    await bob.get_by_role("switch", name="Online").click()  # whoever goes offline stays so
    await bob.evaluate("dispatchEvent(new Event('online'))")
    await expect(bob.locator("#state")).to_have_text("Offline")


async def test_what_is_changed_or_deleted_is_so_in_every_window(ann: Page, bob: Page):
    await post(ann, "frist")
    await expect(moment(bob, "frist")).to_be_visible()
    await moment(ann, "frist").get_by_role("button", name="Edit").click()
    await ann.get_by_label("Your moment").fill("first")
    await ann.keyboard.press("Control+Enter")
    for window in (ann, bob):
        await expect(moment(window, "first")).to_contain_text("edited")
        await expect(window.locator(".moment")).to_have_count(1)
    await expect(moment(ann, "first")).to_contain_text("1 of 1 arrived")
    await moment(ann, "first").get_by_role("button", name="Delete").click()
    await moment(ann, "first").get_by_role("button", name="Really delete?").click()
    for window in (ann, bob):
        await expect(window.locator(".moment .text")).to_have_text("This moment was deleted.")
        await expect(window.locator(".moment")).to_have_count(1)


async def test_what_is_written_is_shown_as_text_and_nothing_else(
    ann: Page, bob: Page, service: Site
):
    wild = "<img src=x onerror=alert(1)><b>bold</b> & 'quoted' \u202e ends"
    await post(ann, wild)
    await expect(moment(bob, wild)).to_be_visible()
    assert await bob.locator(".moment img, .moment .text *").count() == 0
    await service.post("ann", data={"task": 7, "<i>": True}, type="task")  # of another application
    await expect(moment(bob, '{"task":7,"<i>":true}')).to_be_visible()


async def test_each_window_of_a_person_has_what_they_posted(ann: Page, service: Site):
    other = await enter(await ann.context.new_page(), service, "ann")
    await post(other, "from the second")
    await expect(moment(ann, "from the second")).to_be_visible()
    await other.reload()
    await expect(moment(other, "from the second")).to_contain_text("0 of 1")


async def test_what_the_api_refuses_is_told_and_nothing_that_was_typed_is_lost(
    ann: Page, service: Site, complaints: Complaints
):
    complaints.expect("429")
    complaints.expect("503")
    await ann.route(
        "**/v1/posts",
        lambda route: route.fulfill(
            status=503, json={"detail": "The store does not answer; try again."}
        ),
    )
    await ann.get_by_label("What is happening?").fill("keep me")
    await ann.get_by_role("button", name="Post", exact=True).click()
    await expect(ann.get_by_role("alert")).to_have_text("The store does not answer; try again.")
    await expect(ann.get_by_label("What is happening?")).to_have_value("keep me")
    assert await audit(ann) == []
    await ann.unroute("**/v1/posts")
    await ann.get_by_role("button", name="Post", exact=True).click()
    await expect(moment(ann, "keep me")).to_be_visible()
    await expect(ann.get_by_role("alert")).to_be_hidden()


@pytest.mark.parametrize("service", [{"allow_origins": "https://elsewhere.example"}], indirect=True)
async def test_a_gateway_that_takes_no_socket_of_this_page_is_told_with_what_to_do(
    page: Page, service: Site, complaints: Complaints
):
    complaints.expect("WebSocket connection to .* failed")
    await let_in(page, service)
    await page.goto(f"{service.url}/moments#ann")
    told = page.get_by_role("alert")
    await expect(told).to_contain_text(f"MOMENTS_ALLOW_ORIGINS is set for it, {service.url} has")
    assert await audit(page) == []
    await shoot(page, "moments-refused")


async def test_where_the_gateway_is_not_known_it_is_told_what_to_set(page: Page, service: Site):
    service.services.sockets = Sockets()
    await let_in(page, service)
    await page.goto(f"{service.url}/moments#ann")
    await expect(page.get_by_role("alert")).to_contain_text("set MOMENTS_SOCKET_URL")
    await post(page, "without a gateway")
