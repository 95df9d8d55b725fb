"""An API on a real store, and a client for each kind of key."""

import base64
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import httpx
import pytest
from starlette.applications import Starlette

from app.api.app import Pages, create_app, running
from app.api.services import Limits, Services
from app.api.waiters import Waiters
from app.clock import now_ms
from app.domain.ids import shard_of_id
from app.domain.post import Event
from app.domain.shard import shard_of
from app.guard import Guard
from app.metrics import Metrics
from app.sealing import Sealer
from app.store import keys
from app.store.apikeys import ApiKeys, Scope
from app.store.bodies import Bodies
from app.store.client import Store
from app.store.endpoints import Endpoints
from app.store.graph import Graph
from app.store.inbox import Inbox
from app.store.ledger import Ledger
from app.store.nodes import Node
from app.store.posts import Posts
from app.tokens import TokenVerifier, make_token
from app.wire import encode_event, encode_users
from tests.api.description import check_answer

SHARDS = 8
EPOCH = "0123456789ab"
TOKEN_SECRET = "a secret for tokens, long enough for HS256"
NAMES = {"public.example": ["93.184.216.34"], "inside.example": ["10.0.0.7"]}
SCOPES = {
    "admin": frozenset({Scope.ADMIN}),
    "publish": frozenset({Scope.PUBLISH}),
    "read": frozenset({Scope.READ}),
}


async def resolve(host: str) -> Sequence[str]:
    if host not in NAMES:
        raise OSError("no such name")
    return NAMES[host]


def make_services(store: Store, *, limits: Limits | None = None, **changes: object) -> Services:
    posts = Posts(
        store,
        SHARDS,
        retention_s=3_600,
        backlog_max=1_000,
        versions_max=4,
        idempotency_ttl_s=600,
        ack="memory",
    )
    services = Services(
        store=store,
        shards=SHARDS,
        epoch=EPOCH,
        posts=posts,
        bodies=Bodies(posts),
        graph=Graph(store, SHARDS, friends_max=3, follows_max=3, blocks_max=3),
        inbox=Inbox(store, SHARDS),
        endpoints=Endpoints(
            store, SHARDS, sealer=Sealer(bytes(32)), endpoints_max=3, changes_max=100
        ),
        ledger=Ledger(store, SHARDS, posts, changes_max=100),
        api_keys=ApiKeys(store, api_keys_max=8),
        waiters=Waiters(
            Node(store, SHARDS, "testnode"), SHARDS, waits_max=4, per_user_max=2, sweep_s=0.2
        ),
        guard=Guard(resolve=resolve),
        tokens=TokenVerifier(TOKEN_SECRET),
        token_secret=TOKEN_SECRET,
        metrics=Metrics(),
        limits=limits or Limits(),
    )
    return replace(services, **changes)


def client_of(app: Starlette, bearer: str | None) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False),
        base_url="http://api",
        headers={} if bearer is None else {"authorization": f"Bearer {bearer}"},
        event_hooks={"response": [check_answer]},
    )


@dataclass(frozen=True, slots=True)
class Api:
    """An API and clients of it: with an admin key, and made for other credentials."""

    services: Services
    app: Starlette
    admin: httpx.AsyncClient
    secrets: dict[str, str]

    def client(self, credential: str | None) -> httpx.AsyncClient:
        """A client with a bearer credential, or one of `admin`, `publish`, `read`."""
        bearer = None if credential is None else self.secrets.get(credential, credential)
        return client_of(self.app, bearer)

    async def publish(self, author: str = "ann", **fields: object) -> dict[str, object]:
        answer = await self.admin.post(
            "/v1/posts", json={"author": author, "data": {"text": "hello"}, **fields}
        )
        assert answer.status_code == 202, answer.text
        return answer.json()


@asynccontextmanager
async def serve(services: Services, pages: Pages | None = None) -> AsyncIterator[Api]:
    """The API, with `pages` too."""
    secrets = {}
    for name, scopes in SCOPES.items():
        _, secrets[name] = await services.api_keys.create(name, scopes, now_ms())
    app = create_app(services, pages)
    async with client_of(app, secrets["admin"]) as admin:
        yield Api(services, app, admin, secrets)


@pytest.fixture
async def api(store: Store) -> AsyncIterator[Api]:
    """An API whose side tasks do not run: what its calls do not write is not written."""
    async with serve(make_services(store)) as api:
        yield api


@pytest.fixture
async def single_api(single_store: Store) -> AsyncIterator[Api]:
    """The same on one server, where a test has nothing to do with clusters."""
    async with serve(make_services(single_store)) as api:
        yield api


@pytest.fixture
async def running_api(store: Store) -> AsyncIterator[Api]:
    """An API with its side tasks, as in production."""
    services = make_services(store)
    async with serve(services) as api, running(services):
        yield api


async def snapshot(store: Store) -> dict[bytes, bytes]:
    """Every key of the store with its contents."""
    found: dict[bytes, bytes] = {}
    for names in await store.broadcast("KEYS", "*"):
        for name in names:
            found[name] = await store.execute("DUMP", name)
    return found


async def fan_out(store: Store, event: Event, users: Sequence[str]) -> None:
    """Does what a fan-out worker does for a post with one slice."""
    by_shard: dict[int, list[str]] = defaultdict(list)
    for user in users:
        by_shard[shard_of(user, SHARDS)].append(user)
    for shard, members in by_shard.items():
        await store.call(
            "fan_out",
            [
                keys.roster(shard, event.post, event.version, 0),
                keys.tally(shard, event.post),
                keys.routes(shard),
                keys.trimmed(shard),
                keys.deliveries(shard),
            ],
            [
                *(keys.tag(shard), encode_event(event), f"post.{event.kind.word}", 0, 3_600),
                *(10, 8, 1_000, 120, encode_users(members)),
            ],
        )
    key = keys.post(shard_of_id(event.post), event.post)
    await store.execute("HSET", key, f"fanned:{event.version}", "done", "slices", 1)


def user_token(user: str, ttl_s: int = 60, now_s: float | None = None) -> str:
    return make_token(TOKEN_SECRET, user, ttl_s=ttl_s, now_s=now_s)


def whsec(size: int) -> str:
    return "whsec_" + base64.b64encode(bytes(range(size))).decode()
