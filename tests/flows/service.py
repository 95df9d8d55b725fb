"""The whole service in one event loop, on a real store, as its clients see it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import urlencode

import httpx
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from app.api.app import create_app, running
from app.api.services import Services
from app.commands.api import make_sealer, make_services
from app.commands.gateway import make_gateway
from app.commands.gateway import snapshots_of as gateway_snapshots
from app.commands.opening import Opened
from app.commands.process import process_metrics
from app.commands.tracing import traced
from app.commands.worker import snapshots_of as worker_snapshots
from app.console.pages import pages
from app.settings import Settings
from app.store.client import Store
from app.store.processes import published
from app.store.schema import open_schema
from app.wire import decode_frame, encode_msgpack
from tests.wait import wait_until
from workers.metrics import register
from workers.supervisor import Worker

ROLES = ("api", "gateway", "worker")
ADMIN_KEY = "mk_an-admin-key-for-the-flows"
SETTINGS = {
    "admin_key": ADMIN_KEY,
    "token_secret": "a secret for user tokens, long enough",
    "secret_key": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    "allow_cidrs": "127.0.0.0/8",
    "retry_schedule_s": "0.1,0.1,0.1",
    "retry_jitter": 0,
    "request_deadline_s": 1,
    "pause_s": 0.1,
    "pause_max_s": 0.1,
    "goodbye_spread_s": 0,
}


class Service:
    """Calls of a client with the admin key, and sockets. `app` is the api, to be served."""

    def __init__(
        self, services: Services, app: Starlette, http: httpx.AsyncClient, gateway_port: int
    ) -> None:
        self.services = services
        self.app = app
        self.http = http
        self.gateway_port = gateway_port

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """The JSON of the answer, which has to be a success."""
        answer = await self.http.request(method, f"/v1{path}", json=body, headers=headers)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def befriend(self, *pairs: tuple[str, str]) -> None:
        for a, b in pairs:
            await self.call("PUT", f"/users/{a}/friends/{b}")

    async def post(self, author: str, **fields: object) -> Any:
        body = {"author": author, "data": {"text": "hello"}, **fields}
        return await self.call("POST", "/posts", body)

    async def register(self, user: str, url: str, **options: object) -> Any:
        return await self.call("POST", "/endpoints", {"user": user, "url": url, **options})

    async def deliveries(self, post: str, **query: str) -> Any:
        return await self.call("GET", f"/posts/{post}/deliveries?{urlencode(query)}")

    async def delivery(self, post: str, user: str, channel: str) -> Any:
        """One user's delivery of a post; None while there is none."""
        items = (await self.deliveries(post, channel=channel))["items"]
        return next((item for item in items if item["recipient"] == user), None)

    async def settled(
        self, post: str, user: str, state: str, channel: str = "webhook", timeout_s: float = 5.0
    ) -> Any:
        """The same, once it has come to `state`."""

        async def there() -> Any:
            found = await self.delivery(post, user, channel)
            return found if found is not None and found["state"] == state else None

        return await wait_until(there, timeout_s)

    @asynccontextmanager
    async def socket(self, user: str, **query: object) -> AsyncIterator["Socket"]:
        token = (await self.call("POST", f"/users/{user}/tokens", {"ttl_s": 60}))["token"]
        encoding = query.pop("encoding", "json")
        url = f"ws://127.0.0.1:{self.gateway_port}/v1/socket?"
        async with connect(
            url + urlencode({"token": token, **query}),
            subprotocols=[Subprotocol(f"moments.v1.{encoding}")],
            compression=None,
            proxy=None,
        ) as connection:
            socket = Socket(connection)
            socket.hello = await socket.next()
            yield socket


Made = TypeVar("Made", bound=Service)


class Socket:
    """An open socket; `next` is the next frame, as an object."""

    hello: Any

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def next(self, timeout_s: float = 5.0) -> Any:
        async with asyncio.timeout(timeout_s):
            message = await self.connection.recv()
        return json.loads(message) if isinstance(message, str) else decode_frame(message)

    async def take(self, count: int) -> list[Any]:
        return [await self.next() for _ in range(count)]

    async def ack(self, offset: int) -> None:
        message = {"type": "ack", "offset": offset}
        if self.connection.subprotocol == "moments.v1.msgpack":
            await self.connection.send(encode_msgpack(message))
        else:
            await self.connection.send(json.dumps(message))

    async def is_silent(self, for_s: float = 0.2) -> bool:
        """Nothing comes within this time."""
        try:
            async with asyncio.timeout(for_s):
                await self.connection.recv()
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def serve(
    store: Store, make: type[Made] = Service, *, with_worker: bool = True, **changes: object
) -> AsyncIterator[Made]:
    """Api with its console, gateway and worker on `store`; `changes` are settings."""
    settings = Settings.model_validate({**SETTINGS, **changes})
    stop = asyncio.Event()
    opened = Opened(store, await open_schema(store, settings.shards), stop)
    async with AsyncExitStack() as open_:
        tracers = [await open_.enter_async_context(traced(settings, role)) for role in ROLES]
        services = make_services(settings, opened, make_sealer(settings), tracers[0])
        await services.prepare()
        await open_.enter_async_context(running(services))
        tasks = await open_.enter_async_context(asyncio.TaskGroup())
        metrics = [
            process_metrics(role, store.traffic, tracer)
            for role, tracer in zip(ROLES[1:], tracers[1:], strict=True)
        ]
        gateway = make_gateway(settings, opened, metrics[0], tracers[1])
        port = await gateway.start("127.0.0.1", 0)
        services.sockets = replace(services.sockets, port=port)
        sealer, shards = make_sealer(settings), opened.meta.shards
        worker = Worker(settings, store, shards, sealer, watch=opened.watch(), tracer=tracers[2])
        register(metrics[1], worker.stats)
        running_ = [tasks.create_task(gateway.run(stop), name="gateway")]
        if with_worker:
            running_.append(tasks.create_task(worker.run(stop), name="worker"))
        # Also when the test has failed: a server that is not closed hangs the end of the loop.
        open_.push_async_callback(asyncio.wait, running_, timeout=20)
        open_.callback(stop.set)
        for publisher in (
            gateway_snapshots(gateway, opened, metrics[0]),
            worker_snapshots(worker, opened, metrics[1]),
        ):
            await open_.enter_async_context(published(publisher))
        app = create_app(services, pages)
        transport = httpx.ASGITransport(app)
        headers = {"authorization": f"Bearer {ADMIN_KEY}"}
        http = httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers)
        yield make(services, app, await open_.enter_async_context(http), port)


def is_same(pushed: dict[str, Any], post: dict[str, Any]) -> bool:
    """What is pushed of a post is what the api answered, but for when it was edited."""
    return pushed == {name: value for name, value in post.items() if name != "updated_at"}
