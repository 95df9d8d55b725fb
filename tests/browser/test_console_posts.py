"""The pages of posts: the newest, and the deliveries of one, however many there are."""

import asyncio
import json
import logging

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.complaints import Complaints
from tests.browser.looks import audit, shoot, shoot_all
from tests.browser.site import Site
from tests.receivers import Receiver, gated, status
from tests.wait import wait_until

log = logging.getLogger(__name__)

pytestmark = pytest.mark.asyncio(loop_scope="session")

MANY = 5_000
RENDERED_MAX_MS = 5_000  # generous: it takes a tenth of that


def legend(page: Page, channel: str, state: str) -> Locator:
    return page.locator(f"#legend-{channel}").get_by_role("button", name=state)


async def open_post(page: Page, service: Site, post: str, recipients: int) -> None:
    await page.goto(f"{service.url}/posts/{post}")
    await expect(page.locator("html")).to_have_attribute("data-rendered", str(recipients))


async def test_the_newest_are_listed_and_one_is_found_by_its_id(
    signed_in: Page, service: Site, complaints: Complaints
):
    await signed_in.get_by_role("link", name="Posts").click()
    await expect(signed_in.get_by_role("heading", name="Nothing has been posted")).to_be_visible()
    await expect(signed_in.locator("[data-command=post]")).to_contain_text(
        f"{service.url}/v1/posts"
    )
    assert await audit(signed_in) == []
    first, second = await service.post("ann"), await service.post("bob", type="commit")
    await signed_in.get_by_role("button", name="Look again").click()
    rows = signed_in.locator("#post-list").get_by_role("row")
    await expect(rows).to_have_count(2)
    await expect(rows.first).to_contain_text("commit")
    await expect(rows.last).to_contain_text(first["id"])
    await shoot_all(signed_in, "posts")
    wanted = signed_in.get_by_label("Post or delivery id")
    await wanted.fill("nonsense")
    await wanted.press("Enter")
    await expect(signed_in.get_by_role("alert")).to_contain_text("18 letters and digits")
    await wanted.fill(f" {second['id']}-1-0-ky77tv2v00")
    await wanted.press("Enter")
    await signed_in.wait_for_url(f"**/posts/{second['id']}")
    await expect(signed_in.get_by_role("heading", name="It went to nobody")).to_be_visible()
    assert await audit(signed_in) == []
    complaints.expect("404")
    await signed_in.goto(f"{service.url}/posts/01kg9ys7g0d2pf2d03")
    await expect(signed_in.get_by_role("heading", name="There is no such post")).to_be_visible()
    assert await audit(signed_in) == []


async def test_deliveries_are_followed_chosen_and_retried(signed_in: Page, service: Site):
    async with (
        Receiver() as good,
        Receiver(default=status(500, body=b"not today")) as bad,
        service.socket("bob"),
    ):
        await service.register("bob", good.url)
        await service.register("cyd", bad.url, retry_schedule_s=[0.05])
        await service.befriend(("ann", "bob"), ("ann", "cyd"))
        post = await service.post("ann", data={"text": "hello"})
        await open_post(signed_in, service, post["id"], 2)
        await expect(legend(signed_in, "webhook", "delivered")).to_contain_text("1")
        await expect(legend(signed_in, "webhook", "dead")).to_contain_text("1")
        await expect(legend(signed_in, "socket", "delivered")).to_contain_text("1")
        await expect(legend(signed_in, "socket", "pending")).to_contain_text("1")
        await choose(signed_in, "cyd")
        attempts = signed_in.get_by_role("list", name="Attempts").get_by_role("listitem")
        await expect(attempts).to_have_count(2)
        await expect(attempts.last).to_contain_text("2. http_5xx · 500")
        await expect(attempts.last).to_contain_text("not today")
        await shoot_all(signed_in, "post")
        dead = legend(signed_in, "webhook", "dead")
        for is_alone in ("true", "false"):
            await dead.click()
            await expect(dead).to_have_attribute("aria-pressed", is_alone)
        bad.default = status(200)
        await signed_in.get_by_role("button", name="Retry 1 dead").click()
        await signed_in.get_by_role("dialog").get_by_role("button", name="Retry").click()
        await expect(legend(signed_in, "webhook", "delivered")).to_contain_text("2")
        await expect(attempts.last).to_contain_text("3. accepted · 200")
        await expect(signed_in.get_by_role("button", name="Retry 1 dead")).to_be_hidden()


async def choose(page: Page, user: str) -> None:
    """Opens a webhook delivery by the keyboard alone."""
    await page.get_by_role("application", name="webhook deliveries").focus()
    hover = page.locator("#hover")
    for _ in range(2):
        if user in (await hover.text_content() or ""):
            break
        await page.keyboard.press("ArrowRight")
    await expect(hover).to_contain_text(user)
    await page.keyboard.press("Enter")
    await expect(page.locator("#chosen")).to_contain_text(user)


async def test_a_post_to_5000_is_there_at_once_and_fills_in_live(
    signed_in: Page, service: Site, record_property
):
    users = [f"user{number:04}" for number in range(MANY)]
    lines = "\n".join(json.dumps({"kind": "friend", "a": "ann", "b": user}) for user in users)
    assert (await service.http.post("/v1/graph:import", content=lines)).json()["created"] == MANY
    gate = asyncio.Event()
    async with Receiver(default=gated(gate)) as receiver:
        for user in users[:40]:
            await service.register(user, receiver.url)
        post = await service.post("ann", data={"text": "to everybody"})

        async def fanned_out() -> bool:
            return (await service.deliveries(post["id"], limit="1"))["fanned_out"]

        await wait_until(fanned_out, 10)
        await open_post(signed_in, service, post["id"], MANY)
        took_ms = await signed_in.evaluate(
            "performance.getEntriesByName('post-rendered')[0].startTime"
        )
        log.info("a post to %d: all to be seen after %.0f ms", MANY, took_ms)
        record_property("post_rendered_ms", round(took_ms))
        assert took_ms < RENDERED_MAX_MS
        await expect(legend(signed_in, "socket", "pending")).to_contain_text("5,000")
        gate.set()
        await expect(legend(signed_in, "webhook", "delivered")).to_contain_text("40")
    for start in range(0, 3_000, 1_000):
        await service.services.inbox.advance(dict.fromkeys(users[start : start + 1_000], 1))
        await expect(legend(signed_in, "socket", "delivered")).to_contain_text(f"{start + 1_000:,}")
    await shoot(signed_in, "post-5000")
