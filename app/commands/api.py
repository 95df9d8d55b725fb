"""`moments api`: the parts of the api put together, and the HTTP server that runs them."""

import asyncio
import math
import secrets
import socket
from functools import partial

from app import metrics
from app.api.app import create_app
from app.api.http import BoundedHttp, BoundedSocket, Connections, HttpLimits
from app.api.rates import Rates
from app.api.services import Limits, Services
from app.api.sessions import Sessions
from app.api.waiters import Waiters
from app.bounds import told_bounds
from app.commands.environment import variable
from app.commands.opening import Opened, opened_store
from app.commands.probe import listen_on
from app.commands.process import process_metrics, settle_memory
from app.commands.token_keys import make_verifier
from app.console.pages import pages
from app.console.socket import MESSAGE_BYTES_MAX, PATH
from app.domain.socket_url import Sockets
from app.errors import BadSealingKey, CommandFailed
from app.guard import Guard
from app.sealing import Sealer
from app.settings import Settings
from app.store.apikeys import ApiKeys
from app.store.bodies import Bodies
from app.store.endpoints import Endpoints
from app.store.graph import Graph
from app.store.inbox import Inbox
from app.store.ledger import Ledger
from app.store.nodes import Node
from app.store.posts import Posts
from app.webserver import serve

_KEEP_ALIVE_S = 75


async def run_api(settings: Settings, stop: asyncio.Event) -> None:
    """Serves the api until `stop`, then answers what is under way. Raises CommandFailed."""
    sealer = make_sealer(settings)
    with listen_on(settings.host, settings.port, variable("port")) as listener:
        async with opened_store(settings, stop) as opened:
            if opened is None:
                return
            services = make_services(settings, opened, sealer)
            await services.prepare()
            try:
                async with told_bounds(services.metrics):
                    await _serve(services, settings, listener, stop)
            finally:
                services.guard.close()


def make_sealer(settings: Settings) -> Sealer:
    """What seals endpoint secrets. Raises CommandFailed when its key is missing or none."""
    name = variable("secret_key")
    if settings.secret_key is None:
        raise CommandFailed(
            f"{name} is not set: it encrypts the endpoints' secrets. Make one with "
            "`openssl rand -base64 32`, keep it, and give it to every api and worker"
        )
    try:
        return Sealer.from_base64(settings.secret_key, settings.secret_keys_old)
    except BadSealingKey as error:
        names = f"{name} or {variable('secret_keys_old')}" if settings.secret_keys_old else name
        raise CommandFailed(f"{names}: {error}") from error


def make_services(settings: Settings, opened: Opened, sealer: Sealer) -> Services:
    store, shards = opened.store, opened.meta.shards
    posts = Posts.of(store, shards, settings)
    node = Node(store, shards, f"api-{secrets.token_hex(6)}")
    return Services(
        store=store,
        shards=shards,
        epoch=opened.meta.epoch,
        posts=posts,
        bodies=Bodies(posts),
        graph=Graph(
            store,
            shards,
            friends_max=settings.friends_max,
            follows_max=settings.follows_max,
            blocks_max=settings.blocks_max,
        ),
        inbox=Inbox(store, shards, settings.ack),
        endpoints=Endpoints(
            store,
            shards,
            sealer=sealer,
            endpoints_max=settings.endpoints_max,
            changes_max=settings.changes_max,
        ),
        ledger=Ledger(store, shards, posts, changes_max=settings.changes_max),
        api_keys=ApiKeys(store, api_keys_max=settings.api_keys_max),
        waiters=Waiters(node, shards, waits_max=settings.feed_waits_max),
        guard=Guard(
            allow=settings.allow_cidrs,
            allow_ports=settings.allow_ports,
            resolves=not settings.egress_proxy_resolves,
        ),
        tokens=make_verifier(settings),
        token_secret=settings.token_secret,
        metrics=process_metrics("api"),
        limits=Limits.of(settings),
        rates=Rates.of(settings),
        sessions=(
            Sessions(sealer, session_s=settings.console_session_s) if settings.console else None
        ),
        sockets=Sockets(settings.socket_url, settings.socket_port),
        admin_key=settings.admin_key,
        watch=opened.watch(),
    )


async def _serve(
    services: Services, settings: Settings, listener: socket.socket, stop: asyncio.Event
) -> None:
    connections = Connections(
        HttpLimits.of(settings),
        services.stats.refusals,
        socket_path=PATH if settings.console else None,
    )
    services.metrics.register(*metrics.API_CONNECTIONS_OPEN, lambda: connections.open)
    services.metrics.register(*metrics.API_CONNECTIONS_STALLED, lambda: connections.stalled)
    async with asyncio.TaskGroup() as tasks:
        # Long polls would hold the server up for as long as they wait.
        releasing = tasks.create_task(_release(services, stop), name="release")
        settle_memory()
        await serve(
            create_app(services, pages if settings.console else None),
            listener,
            stop,
            grace_s=math.ceil(settings.drain_timeout_s),
            lifespan=True,
            keep_alive_s=_KEEP_ALIVE_S,
            protocol=partial(BoundedHttp, shared=connections),
            sockets=BoundedSocket,
            message_bytes_max=MESSAGE_BYTES_MAX,
        )
        releasing.cancel()


async def _release(services: Services, stop: asyncio.Event) -> None:
    await stop.wait()
    services.waiters.release()
