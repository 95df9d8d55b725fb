"""The browser of the tests, and windows of it, each in a context of its own."""

import os
import shutil
from contextlib import AsyncExitStack
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from tests.browser.complaints import Complaints

MISSING = "chromium is missing: install it (Debian: apt-get install chromium) or set CHROMIUM"
WAIT_MS = 10_000.0  # for whatever a test waits for in a page


def find_chromium() -> str:
    """Its path. Without one the test is skipped, and the last lines of the run say so."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not found:
        pytest.skip(MISSING)
    return found


class Windows:
    """Opens windows; the complaints of each are heard."""

    def __init__(self, browser: Browser, complaints: Complaints, open_: AsyncExitStack) -> None:
        self._browser = browser
        self._complaints = complaints
        self._open = open_

    async def open(self, **options: Any) -> Page:
        """A window in a new context, as of another person; `options` are the context's. Nothing
        moves in it, which is quicker."""
        context = await self._browser.new_context(**{"reduced_motion": "reduce", **options})
        self._open.push_async_callback(context.close)
        context.set_default_timeout(WAIT_MS)
        self._complaints.listen_to(context)
        return await context.new_page()
