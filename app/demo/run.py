"""The demo from its start to its verdict."""

import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from websockets.exceptions import WebSocketException

from app.commands.api_client import ApiClient
from app.commands.process import raise_file_limit
from app.commands.signals import stop_on_signals
from app.commands.terminal import say
from app.demo.cast import PEOPLE, POSTS, Cast, make_cast
from app.demo.ledger import Account, Posted, is_settled, read_account
from app.demo.receivers import Receivers
from app.demo.report import json_report, show, show_next
from app.demo.service import RunningService, Service
from app.demo.sockets import Sockets
from app.demo.verdict import Evidence, complaints
from app.errors import CommandFailed

DEADLINE_S = 55.0
POST_EVERY_S = 0.25
AWAY_S = (0.3, 1.5)
_CALLS_AT_ONCE = 8
_LOOK_EVERY_S = 0.25
_TOKEN_TTL_S = 3_600

T = TypeVar("T")
K = TypeVar("K")


async def demo(seed: int, *, as_json: bool = False) -> None:
    """Runs the demo on a temporary store, which is kept only when something is not as expected.

    `as_json` prints what came of it as one JSON text, and nothing else. Raises CommandFailed when
    something is not as expected, and when it is stopped by a signal.
    """
    raise_file_limit()
    directory = Path(tempfile.mkdtemp(prefix="moments-demo-"))
    stop = stop_on_signals()
    play = asyncio.create_task(_Demo(directory, seed, as_json=as_json).run(), name="demo")
    asked = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({play, asked}, return_when=asyncio.FIRST_COMPLETED)
        if play.done():
            await play
    except CommandFailed as failure:
        raise CommandFailed(f"{failure}\nwhat the service said is in {directory}") from failure
    finally:
        play.cancel()
        asked.cancel()
        await asyncio.wait({play, asked})
    shutil.rmtree(directory, ignore_errors=True)
    if stop.is_set():
        raise CommandFailed("stopped before the end")


class _Demo:
    def __init__(self, directory: Path, seed: int, *, as_json: bool) -> None:
        self._directory = directory
        self._random = random.Random(seed)
        self._cast: Cast = make_cast(self._random)
        self._as_json = as_json
        self._console = Console(file=sys.stdout, highlight=False, quiet=as_json)
        self._began = time.monotonic()

    async def run(self) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                evidence = await self._play()
        except TimeoutError:
            raise CommandFailed(f"not finished within {DEADLINE_S:.0f} s") from None
        except (OSError, WebSocketException) as error:
            raise CommandFailed(f"a connection failed: {error}") from error
        found = list(complaints(evidence))
        took_s = time.monotonic() - self._began
        if self._as_json:
            say(json_report(evidence, found, took_s))
        show(self._console, evidence, found, took_s)
        if found:
            raise CommandFailed(f"{len(found)} things are not as expected, see above")
        show_next(self._console)

    async def _play(self) -> Evidence:
        async with AsyncExitStack() as open_:
            starting = "start store, api, gateway and worker"
            with self._console.status(starting), self._step(starting):
                service = await open_.enter_async_context(RunningService(self._directory))
            with self._progress() as progress:
                return await self._play_on(service, open_, progress)

    async def _play_on(
        self, service: Service, open_: AsyncExitStack, progress: Progress
    ) -> Evidence:
        cast, api = self._cast, service.api
        with self._step(f"make {PEOPLE} people and {len(cast.pairs):,} friendships"):
            await self._befriend(api)
        receivers = Receivers(cast.manners, _advance(progress, "webhook requests", cast.webhooks))
        with self._step(f"start {len(cast.manners)} receivers and register them"):
            await open_.enter_async_context(receivers)
            endpoints = await self._register(api, receivers)
        with self._step(f"open {len(cast.sockets)} sockets"):
            tokens = await self._make_tokens(api)
            noticed = _advance(progress, "frames", cast.frames)
            sockets = Sockets(service.gateway, tokens, noticed)
            await open_.enter_async_context(sockets)
        with self._step(f"post {POSTS} updates while {len(cast.dropping)} sockets drop"):
            posts = await self._post(api, sockets)
        with self._step("wait until every delivery has come to its end"):
            accounts = [await self._settled(api, post) for post in posts]
        states = {
            user: (await _call(api, "GET", f"/v1/endpoints/{id_}"))["state"]
            for user, id_ in endpoints.items()
        }
        with self._step("stop everything in order"):
            await open_.aclose()
        return Evidence(cast, accounts, receivers.mailboxes, sockets.clients, states)

    async def _befriend(self, api: ApiClient) -> None:
        lines = [{"kind": "friend", "a": a, "b": b} for a, b in self._cast.pairs]
        answer = await asyncio.to_thread(api.send_lines, "/v1/graph:import", lines)
        if answer["errors"] or answer["created"] != len(lines):
            raise CommandFailed(f"the import of friendships failed: {answer}")

    async def _register(self, api: ApiClient, receivers: Receivers) -> dict[str, str]:
        """Endpoint ids by user."""

        async def register(user: str) -> str:
            hook = receivers.hooks[user]
            body = {"user": user, "url": hook.url, "secret": hook.secret}
            return (await _call(api, "POST", "/v1/endpoints", body))["id"]

        return await _for_each(receivers.hooks, register)

    async def _make_tokens(self, api: ApiClient) -> dict[str, str]:
        async def make(user: str) -> str:
            answer = await asyncio.to_thread(api.make_token, user, _TOKEN_TTL_S)
            return answer["token"]

        return await _for_each(self._cast.sockets, make)

    async def _post(self, api: ApiClient, sockets: Sockets) -> list[Posted]:
        """Each author posts once, evenly spread, while sockets are cut and come back."""
        posts: list[Posted] = []
        span_s = POSTS * POST_EVERY_S
        async with asyncio.TaskGroup() as tasks:
            for user in sorted(self._cast.dropping):
                cut_s = self._random.uniform(0, span_s)
                away_s = self._random.uniform(*AWAY_S)
                tasks.create_task(_drop(sockets, user, cut_s, away_s), name=f"drop {user}")
            for author in self._cast.authors:
                body = {"author": author, "data": {"text": f"hello from {author}"}}
                posts.append(Posted.of(await _call(api, "POST", "/v1/posts", body)))
                await asyncio.sleep(POST_EVERY_S)
        return posts

    async def _settled(self, api: ApiClient, post: Posted) -> Account:
        while True:
            account = await read_account(api, post)
            if is_settled(account, self._cast):
                return account
            await asyncio.sleep(_LOOK_EVERY_S)

    @contextmanager
    def _step(self, what: str) -> Generator[None]:
        began = time.monotonic()
        yield
        self._console.print(f"[green]✓[/] {what} [dim]{time.monotonic() - began:.1f} s[/]")

    def _progress(self) -> Progress:
        columns = (TextColumn("  {task.description:<17}"), BarColumn(), MofNCompleteColumn())
        return Progress(*columns, console=self._console, transient=True)


async def _drop(sockets: Sockets, user: str, after_s: float, away_s: float) -> None:
    await asyncio.sleep(after_s)
    await sockets.drop(user, away_s)


def _advance(progress: Progress, what: str, total: int) -> Callable[..., None]:
    task = progress.add_task(what, total=total)
    return lambda *_: progress.advance(task)


async def _call(api: ApiClient, method: str, path: str, body: object = None) -> Any:
    return await asyncio.to_thread(api.call, method, path, body)


async def _for_each(keys: Iterable[K], make: Callable[[K], Awaitable[T]]) -> dict[K, T]:
    """What `make` gives for each key, some at once."""
    turn = asyncio.Semaphore(_CALLS_AT_ONCE)

    async def in_turn(key: K) -> tuple[K, T]:
        async with turn:
            return key, await make(key)

    async with asyncio.TaskGroup() as tasks:
        made = [tasks.create_task(in_turn(key)) for key in keys]
    return dict(task.result() for task in made)
