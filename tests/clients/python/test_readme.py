"""The blocks of the client's README run as they stand, but for where the service is and its key."""

import ast
import asyncio
import inspect
import re
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from moments_client import ExpiredPost, Moments
from moments_client.webhooks import WebhookEvent
from tests.clients.python.live import Live
from tests.wait import wait_until

CLIENT = Path(__file__).parents[3] / "clients" / "python"
README = (CLIENT / "README.md").read_text()
BLOCKS = dict(re.findall(r"^```python client=(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL))
SECRET = "whsec_dGhpcyBzZWNyZXQgaXMgb25seSBmb3IgdGhlIFJFQURNRQ=="
EVENT = WebhookEvent(
    id="d-1",
    attempt=1,
    type="post.created",
    timestamp=datetime(2026, 1, 31, tzinfo=UTC),
    recipient="bob",
    offset=1,
    post=ExpiredPost(id="p", expired=True),
)


def compiled(block: str, running: Live | None = None) -> tuple[Any, dict[str, Any]]:
    """What a block's statements come to, and the names they leave."""
    text = BLOCKS[block].replace("whsec_…", SECRET)
    if running is not None:
        text = text.replace("http://127.0.0.1:8000", running.url).replace("mk_…", running.key)
        text = text.replace(f'"{running.key}")', f'"{running.key}", socket_url=SOCKETS)')
    names: dict[str, Any] = {"SOCKETS": running.socket_url if running else ""}
    code = compile(text, block, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return eval(code, names), names


async def run(block: str, running: Live) -> None:
    result, _ = compiled(block, running)
    if inspect.isawaitable(result):
        await result


def test_every_block_is_run_here():
    assert len(BLOCKS) == README.count("```python")
    assert set(BLOCKS) == {"calls", "errors", "load", "subscribe", "starlette", "once"}


@pytest.mark.parametrize(
    ("block", "shown"),
    [("calls", "bob socket pending"), ("errors", "author String should"), ("load", "5000 []")],
)
async def test_what_is_called_answers(
    block: str, shown: str, running: Live, capsys: pytest.CaptureFixture[str]
):
    async def shows() -> bool:
        await run(block, running)
        return shown in capsys.readouterr().out

    await wait_until(shows, poll_s=0.1)  # a post's deliveries are there a moment later


async def test_what_is_subscribed_to_comes(
    running: Live, moments: Moments, capsys: pytest.CaptureFixture[str]
):
    await moments.graph.befriend("alice", "bob")
    following = asyncio.ensure_future(run("subscribe", running))
    await moments.posts.create("alice", {"text": "read me"})
    printed = ""

    def shows() -> bool:
        nonlocal printed
        printed += capsys.readouterr().out
        return "alice {'text': 'read me'}" in printed

    try:
        await wait_until(shows)
    finally:
        following.cancel()
        await asyncio.wait((following,))


async def test_what_is_decorated_is_an_endpoint():
    _, names = compiled("starlette")
    endpoint = cast("Callable[..., Awaitable[Any]]", names["moments"])
    Starlette(routes=[Route("/moments", endpoint, methods=["POST"])])
    assert endpoint.__name__ == "moments"


def test_what_came_before_is_not_new(capsys: pytest.CaptureFixture[str]):
    _, names = compiled("once")
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE events (id PRIMARY KEY, recipient, type)")
    for _ in range(2):
        names["store"](database, EVENT)
    database.close()
    assert capsys.readouterr().out == "new: post.created\n"


def test_every_file_that_is_linked_exists():
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (CLIENT / path).exists(), path
