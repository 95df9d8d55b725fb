"""From a click in one window of the Moments page until the post is on the screen of another.

    python -m scripts.bench.moments_page [--posts 20]

`moments up` on a store of its own, and chromium with a window of ann's and one of bob's, who are
friends. Both windows read one clock. What is measured is from the click on "Post" to the first
frame that is drawn after the entry is in bob's timeline.
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from playwright.async_api import Browser, Page, StorageState, async_playwright

from app.demo.service import RunningService, Service
from app.errors import CommandFailed
from scripts.load.processes import machine

PAUSE_S = 0.25  # between two posts, as between those of a person
LIVE = "() => document.getElementById('state').textContent === 'Live'"

# In the window that posts: when the button was pressed, and the form sent.
NOTE_CLICKS = """() => {
    window.clicked = [];
    document.getElementById("send").addEventListener("click",
        () => window.clicked.push(performance.timeOrigin + performance.now()), {capture: true});
}"""
# In the other one: by text, when the entry was on the screen.
NOTE_ENTRIES = """() => {
    window.shown = {};
    new MutationObserver((changes) => {
        const texts = changes.flatMap((one) => [...one.addedNodes])
            .map((entry) => entry.querySelector(".text").textContent);
        requestAnimationFrame(() => setTimeout(() => {
            const now = performance.timeOrigin + performance.now();
            for (const text of texts) window.shown[text] = now;
        }));
    }).observe(document.getElementById("timeline"), {childList: true});
}"""


async def measure(ann: Page, bob: Page, posts: int) -> list[float]:
    """Milliseconds of each of so many posts of ann's. Both windows are live, and theirs."""
    await ann.evaluate(NOTE_CLICKS)
    await bob.evaluate(NOTE_ENTRIES)
    for number in range(posts):
        await ann.fill("#text", f"post {number}")
        await ann.click("#send")
        await bob.wait_for_function("text => text in window.shown", arg=f"post {number}")
        await asyncio.sleep(PAUSE_S)
    clicked = await ann.evaluate("window.clicked")
    shown = await bob.evaluate("window.shown")
    return [shown[f"post {number}"] - at for number, at in enumerate(clicked)]


async def open_window(browser: Browser, session: StorageState, api: str, user: str) -> Page:
    """In a context of its own: of two tabs in one window a browser draws the one in front."""
    page = await browser.new_page(storage_state=session)
    await page.goto(f"{api}/moments#{user}")
    await page.wait_for_function(LIVE)
    return page


async def run(service: Service, chromium: str, posts: int) -> list[float]:
    api = service.api
    await asyncio.to_thread(api.call, "PUT", "/v1/users/ann/friends/bob")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        page = await browser.new_page()
        await page.goto(f"{api.url}/login?next=/moments")
        await page.fill("#key", api.key)
        await page.press("#key", "Enter")
        await page.wait_for_url("**/moments")
        session = await page.context.storage_state()
        ann, bob = [await open_window(browser, session, api.url, one) for one in ("ann", "bob")]
        await measure(ann, bob, 1)  # what is done once
        for window in (ann, bob):
            await window.reload()
            await window.wait_for_function(LIVE)
        took_ms = await measure(ann, bob, posts)
        await browser.close()
    return took_ms


def told(took_ms: Sequence[float]) -> str:
    figures = " ".join(f"{ms:.0f}" for ms in took_ms)
    on = machine()
    return (
        f"{figures}\n{len(took_ms)} posts, from a click in one window to the screen of the other: "
        f"p50 {median(took_ms):.0f} ms, max {max(took_ms):.0f} ms\n"
        f"{datetime.now(UTC).date()}, {on['cores']} cores of {on['cpu']}"
    )


async def main(posts: int) -> int:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        print("chromium is missing: install it, or set CHROMIUM", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="moments-page-") as directory:
        try:
            async with RunningService(Path(directory)) as service:
                print(told(await run(service, chromium, posts)))
        except CommandFailed as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--posts", type=int, default=20)
    sys.exit(asyncio.run(main(parser.parse_args().posts)))
