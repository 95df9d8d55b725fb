"""How a page looks: whether everybody can use it, and pictures of it."""

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from playwright.async_api import Page

SCREENSHOTS = Path(__file__).parents[2] / "reports" / "screenshots"
PHONE = {"width": 390, "height": 844}
# WCAG 2.2 on its levels A and AA, and what the makers of the rules recommend beside it.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@cache
def _axe() -> str:
    return (files("axe_playwright_python") / "axe.min.js").read_text("utf-8")


# What comes in slowly has no contrast yet; what moves for ever is not waited for.
SETTLED = """() => Promise.allSettled(document.getAnimations()
    .filter((one) => one.effect.getComputedTiming().endTime < Infinity)
    .map((one) => one.finished))"""
AUDIT = "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})"


async def audit(page: Page, *rules: str) -> list[str]:
    """Runs axe-core on what the page shows now: each rule that is broken, with where and why. Of
    all rules, unless some are named."""
    await page.evaluate(SETTLED)
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(_axe())
    found = await page.evaluate(AUDIT, list(rules or RULES))
    return [_told(violation) for violation in found["violations"]]


def _told(violation: dict[str, Any]) -> str:
    places = [
        f"\n  {node['html']}\n    {node['failureSummary']}".replace("\n\n", "\n")
        for node in violation["nodes"]
    ]
    return f"{violation['id']} ({violation['impact']}): {violation['help']}{''.join(places)}"


async def shoot(page: Page, name: str) -> None:
    """Keeps a picture of the whole page as reports/screenshots/NAME.png."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    await page.evaluate("scrollTo(0, 0)")  # else what sticks to the top stands in the middle
    await page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True, animations="disabled")


async def shoot_all(page: Page, name: str) -> None:
    """Pictures NAME-light, NAME-dark and NAME-phone; leaves the page light and as wide as it was.
    Fails on what not everybody can use, or not in the dark, and on a page wider than the phone."""
    usual = page.viewport_size
    for look, scheme, size, rules in (
        ("light", "light", usual, RULES),
        ("dark", "dark", usual, ["color-contrast"]),
        ("phone", "light", PHONE, ["target-size"]),
    ):
        await page.emulate_media(color_scheme=scheme)
        await page.set_viewport_size(size)
        found = await audit(page, *rules)
        assert not found, "\n".join([f"{name}-{look}", *found])
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width <= size["width"], f"{name}-{look} has to be scrolled sideways"
        await shoot(page, f"{name}-{look}")
    await page.set_viewport_size(usual)
