"""What pages complain of: errors in the console, exceptions, requests that fail."""

import re

from playwright.async_api import BrowserContext, ConsoleMessage, Request, WebError

# A page that is left, or that gives a request up itself.
GIVEN_UP = "net::ERR_ABORTED"


class Complaints:
    """Heard from every page of the contexts that are listened to."""

    def __init__(self) -> None:
        self._heard: list[str] = []
        self._expected: list[re.Pattern[str]] = []
        self._is_listening = True

    def listen_to(self, context: BrowserContext) -> None:
        context.on("console", self._on_console)
        context.on("weberror", self._on_exception)
        context.on("requestfailed", self._on_failed)

    def stop_listening(self) -> None:
        """What is broken off by the end of the test is nobody's fault."""
        self._is_listening = False

    def expect(self, pattern: str) -> None:
        """From now on, and for what was heard: a complaint in which `pattern` is found is no
        fault."""
        self._expected.append(re.compile(pattern))

    def unexpected(self) -> list[str]:
        return [text for text in self._heard if not any(one.search(text) for one in self._expected)]

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "assert"):
            where = message.location
            self._hear(f"console: {message.text} ({where['url']}:{where['lineNumber']})")

    def _on_exception(self, error: WebError) -> None:
        self._hear(f"exception: {error.error}")

    def _on_failed(self, request: Request) -> None:
        if request.failure != GIVEN_UP:
            self._hear(f"request: {request.method} {request.url}: {request.failure}")

    def _hear(self, text: str) -> None:
        if self._is_listening:
            self._heard.append(text)
