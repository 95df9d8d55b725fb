"""The Moments page: who gets it, and which sockets it may open."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network

import httpx
import pytest

from app.api.app import create_app
from app.api.services import Limits
from app.api.sessions import Sessions
from app.clock import now_ms
from app.console.pages import pages
from app.domain.socket_url import Sockets
from app.sealing import Sealer
from app.store.client import Store
from tests.api.conftest import SCOPES, make_services

PUSH = "wss://push.example.com/v1/socket"


@asynccontextmanager
async def signed_in(
    store: Store, sockets: Sockets | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    services = make_services(
        store,
        limits=Limits(trusted_proxies=(ip_network("127.0.0.1/32"),)),
        sessions=Sessions(Sealer(bytes(32)), session_s=60),
        sockets=sockets or Sockets(),
    )
    _, key = await services.api_keys.create("admin", SCOPES["admin"], now_ms())
    transport = httpx.ASGITransport(create_app(services, pages), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api:8000") as client:
        answer = await client.post("/login", data={"key": key, "next": "/moments"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/moments")
        yield client


async def seen(client: httpx.AsyncClient, **headers: str) -> tuple[str, str]:
    """The address of the sockets that the page has, and where its policy lets it connect."""
    answer = await client.get("/moments", headers=headers)
    assert answer.status_code == 200
    [policy] = answer.headers.get_list("content-security-policy")
    [connect] = [rule for rule in policy.split("; ") if rule.startswith("connect-src ")]
    [url] = re.findall(r'name="socket-url" content="([^"]*)"', answer.text)
    return url, connect


async def test_without_a_session_it_is_not_shown_and_signing_in_leads_back(single_store: Store):
    async with signed_in(single_store) as client:
        assert (await client.get("/moments")).status_code == 200
        client.cookies.clear()
        answer = await client.get("/moments")
        assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/moments")
        form = await client.get(answer.headers["location"])
        assert 'name="next" value="/moments"' in form.text
        wrong = await client.post("/login", data={"key": "a password", "next": "/moments"})
        assert 'name="next" value="/moments"' in wrong.text


async def test_it_may_open_sockets_at_the_address_of_the_settings_and_nowhere_else(
    single_store: Store,
):
    async with signed_in(single_store, Sockets(PUSH, 8001)) as client:
        found = (PUSH, "connect-src 'self' wss://push.example.com")
        assert await seen(client) == found
        assert await seen(client, host="evil.example; script-src *") == found


async def test_or_at_the_port_of_the_gateways_on_its_own_host(single_store: Store):
    async with signed_in(single_store, Sockets(port=8001)) as client:
        assert await seen(client) == (
            "ws://api:8001/v1/socket",
            "connect-src 'self' ws://api:8001",
        )
        over_tls = {"x-forwarded-proto": "https", "host": "api"}
        assert await seen(client, **over_tls) == (
            "wss://api:8001/v1/socket",
            "connect-src 'self' wss://api:8001",
        )


@pytest.mark.parametrize("host", ["evil.example; script-src *", "evil.example *", "*", "a,b", "'"])
async def test_a_host_that_is_none_gets_into_neither_page_nor_policy(
    single_store: Store, host: str
):
    async with signed_in(single_store, Sockets(port=8001)) as client:
        assert await seen(client, host=host) == ("", "connect-src 'self'")


async def test_where_nothing_is_known_it_may_open_none(single_store: Store):
    async with signed_in(single_store) as client:
        assert await seen(client) == ("", "connect-src 'self'")
