"""The console on a real server, and browsers that are signed in to it."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest
from starlette.routing import WebSocketRoute
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin

from app.api.http import HttpLimits
from app.api.services import Limits
from app.api.sessions import Sessions
from app.clock import now_ms
from app.console.pages import pages
from app.console.socket import PATH, ConsoleSocket
from app.sealing import Sealer
from app.store.client import Store
from tests.api.conftest import Api, make_services, serve
from tests.api.served import Served, served

SESSION_S = 3_600.0
SOCKETS_MAX = 3


class Clock:
    """Milliseconds, which pass when they are told to."""

    def __init__(self) -> None:
        self.ms = now_ms()

    def __call__(self) -> int:
        return self.ms


@dataclass
class Console:
    """A served console; `cookie` and `csrf` are those of an admin who has signed in."""

    api: Api
    served: Served
    clock: Clock
    endpoint: ConsoleSocket
    cookie: str = ""
    csrf: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def stats(self):
        return self.api.services.stats

    @asynccontextmanager
    async def socket(
        self, *, cookie: str | None = None, origin: str | None = None
    ) -> AsyncIterator[ClientConnection]:
        cookie = self.cookie if cookie is None else cookie
        async with connect(
            f"ws://127.0.0.1:{self.served.port}{PATH}",
            origin=Origin(self.served.base if origin is None else origin) if origin != "" else None,
            additional_headers={"Cookie": cookie} if cookie else {},
            compression=None,
            proxy=None,
        ) as connection:
            yield connection

    def watch(self, topic: str = "stats", **changes: Any) -> dict[str, Any]:
        return {"type": "watch", "topic": topic, "csrf": self.csrf, **changes}


@pytest.fixture
async def console(single_store: Store) -> AsyncIterator[Console]:
    clock = Clock()
    services = make_services(
        single_store,
        limits=replace(Limits(), console_sockets_max=SOCKETS_MAX),
        sessions=Sessions(Sealer(bytes(32)), session_s=SESSION_S, clock=clock),
    )
    limits = HttpLimits(stall_timeout_s=0.3)
    async with serve(services, pages) as api, served(api, limits, api.app, PATH) as made:
        [endpoint] = [
            route.endpoint.__self__ for route in api.app.routes if isinstance(route, WebSocketRoute)
        ]
        console = Console(api, made, clock, endpoint)
        async with httpx.AsyncClient(base_url=made.base, verify=False) as browser:
            await browser.post("/login", data={"key": api.secrets["admin"]})
            page = await browser.get("/")
            found = re.search(r'name="csrf-token" content="([^"]+)"', page.text)
            assert found
            console.csrf = found[1]
            [(name, value)] = browser.cookies.items()
            console.cookie = f"{name}={value}"
        yield console
