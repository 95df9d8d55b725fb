"""The API as an ASGI application."""

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import NoReturn

from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import metric_names as names
from app.api import asyncapi as pushed
from app.api.answers import Answer
from app.api.auth import Access, Doorkeeper
from app.api.call import OWN_PARAMETERS, Ask, Call, Resource
from app.api.canary import Canary
from app.api.openapi import document
from app.api.problems import problem_of
from app.api.routes import CALLS
from app.api.schemas.fields import Nothing
from app.api.schemas.operations import Description, PushDescription
from app.api.services import Services
from app.api.stats import Stats, register
from app.store.processes import Publisher, published
from app.wire import encode_json

Pages = Callable[[Services, Doorkeeper], Sequence[BaseRoute]]


def create_app(services: Services, pages: Pages | None = None) -> Starlette:
    """The API; `pages` makes further routes, those of the console.

    Its lifespan runs what long polls and the canary need. Before stopping the server, call
    `services.waiters.release()`: else long polls hold it up for as long as they wait.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with running(services):
            yield

    register(services.metrics, services.stats, services.waiters, services.rates)
    # Encoded before the first request, which would have to wait for it.
    description()
    push_description()
    doorkeeper = make_doorkeeper(services)
    routes = make_routes(ALL_CALLS, services, doorkeeper)
    if pages is not None:
        routes += pages(services, doorkeeper)
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Problems, stats=services.stats)],
        exception_handlers={HTTPException: _pass_on},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


@asynccontextmanager
async def running(services: Services) -> AsyncGenerator[None]:
    """Runs the side tasks of an api process; at the end they are stopped and waited for."""
    stop = asyncio.Event()
    backlog_max = services.limits.posts_backlog_max
    canary = Canary(services.store, services.shards, backlog_max=backlog_max)
    services.metrics.register(names.CANARY_AGE, canary.age_s)
    publisher = Publisher(
        services.store, services.shards, services.waiters.node_id, "api", services.metrics
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(services.waiters.run(), name="waiters")
        tasks.create_task(canary.run(stop), name="canary")
        watching = tasks.create_task(_watch_epoch(services), name="epoch")
        try:
            async with published(publisher):
                yield
        finally:
            stop.set()
            watching.cancel()
            services.waiters.release()


async def _watch_epoch(services: Services) -> None:
    if services.watch is not None:
        await services.watch.run(services.begin_anew)


async def openapi(_: Ask[Nothing, Nothing]) -> Answer:
    """Describes the API, as an OpenAPI document."""
    return Answer(200, description())


async def asyncapi(_: Ask[Nothing, Nothing]) -> Answer:
    """Describes sockets and webhooks, as an AsyncAPI document."""
    return Answer(200, push_description())


ALL_CALLS = (
    *CALLS,
    Call("GET", "/openapi.json", Access.PUBLIC, openapi, 200, Description),
    Call("GET", "/asyncapi.json", Access.PUBLIC, asyncapi, 200, PushDescription),
)


@cache
def description() -> bytes:
    return encode_json(document(ALL_CALLS))


@cache
def push_description() -> bytes:
    return encode_json(pushed.document())


def make_doorkeeper(services: Services) -> Doorkeeper:
    return Doorkeeper(
        services.api_keys,
        services.tokens,
        services.rates,
        services.sessions,
        answer_timeout_s=services.limits.answer_timeout_s,
        proxies=services.limits.trusted_proxies,
    )


def make_routes(
    calls: Iterable[Call], services: Services, doorkeeper: Doorkeeper
) -> list[BaseRoute]:
    """One route for each path, in the order of the table."""
    by_path: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        by_path[call.path].append(call)
    return [
        Route(_pattern(path), Resource(group, services, doorkeeper), name=path)
        for path, group in by_path.items()
    ]


class OwnId(Convertor[str]):
    """An id that we gave out: without a colon, so that `{endpoint}:ping` is told from it."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("own", OwnId())


def _pattern(path: str) -> str:
    """The path with the kind of each parameter; user ids may hold colons."""
    own = "|".join(sorted(OWN_PARAMETERS))
    return re.sub(rf"{{({own})}}", r"{\1:own}", path)


async def _pass_on(_: Request, error: Exception) -> NoReturn:
    """Instead of the framework's own answer in plain text: `Problems` answers."""
    raise error


class Problems:
    """Turns what escaped everything inside, unknown paths among it, into problem answers."""

    def __init__(self, app: ASGIApp, stats: Stats) -> None:
        self._app = app
        self._stats = stats

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            if started:  # too late for another answer; the server closes the connection
                raise
            problem = problem_of(error)
            self._stats.refusals.note(problem.kind, problem.detail)
            self._stats.by_status[problem.kind.status] += 1
            await problem.answer().send(send, head_only=scope["method"] == "HEAD")
