"""`moments gateway`: the parts of a gateway put together, and how it says whether it is ready."""

import asyncio
import secrets
from collections.abc import Callable

from app.bounds import told_bounds
from app.commands.environment import variable
from app.commands.opening import Opened, opened_store
from app.commands.probe import listen_on
from app.commands.process import process_metrics, settle_memory
from app.commands.token_keys import make_verifier
from app.errors import CommandFailed
from app.gateway.door import Operations, Rules
from app.gateway.limits import Limits
from app.gateway.metrics import register
from app.gateway.server import Gateway
from app.metrics import Metrics
from app.settings import Settings
from app.store.bodies import Bodies
from app.store.inbox import Inbox
from app.store.nodes import BLOCK_MS, Node
from app.store.posts import Posts
from app.store.processes import Publisher, published
from app.tokens import has_token_keys

SILENCE_MAX_S = 3 * BLOCK_MS / 1000  # of the store, in which a gateway still says it is ready


async def run_gateway(settings: Settings, stop: asyncio.Event) -> None:
    """Holds sockets until `stop`, then takes leave of them. Raises CommandFailed."""
    if not has_token_keys(settings):
        raise CommandFailed(
            f"none of {variable('token_secret')}, {variable('token_public_key')} and "
            f"{variable('token_keys')} is set: without one no user token can be "
            "checked, and no socket opened"
        )
    where = (settings.host, settings.gateway_port, variable("gateway_port"))
    with listen_on(*where) as listener:
        async with opened_store(settings, stop) as opened:
            if opened is None:
                return
            metrics = process_metrics("gateway")
            gateway = make_gateway(settings, opened, metrics)
            await gateway.start_on(listener)
            settle_memory()
            async with told_bounds(metrics), published(snapshots_of(gateway, opened, metrics)):
                await gateway.run(stop)


def make_gateway(settings: Settings, opened: Opened, metrics: Metrics) -> Gateway:
    """A gateway whose metrics are added to `metrics`."""
    store, shards = opened.store, opened.meta.shards
    node = Node(store, shards, f"gateway-{secrets.token_hex(6)}")
    gateway = Gateway(
        node,
        Inbox(store, shards, settings.ack),
        Bodies(Posts.of(store, shards, settings)),
        make_verifier(settings).verify,
        epoch=opened.meta.epoch,
        shards=shards,
        limits=Limits.of(settings),
        rules=Rules.of(settings),
        operations=Operations(unready=_readiness(node), metrics=metrics.render),
        watch=opened.watch().run,
        id_=node.id,
    )
    register(metrics, gateway.stats)
    return gateway


def snapshots_of(gateway: Gateway, opened: Opened, metrics: Metrics) -> Publisher:
    """What tells others how this gateway is."""
    return Publisher(opened.store, opened.meta.shards, gateway.id, "gateway", metrics)


def _readiness(node: Node) -> Callable[[], str | None]:
    """Ready is a gateway to which what is pushed gets through: its streams were read lately."""
    loop = asyncio.get_running_loop()
    started_at = loop.time()

    def unready() -> str | None:
        if not node.last_read_at:
            silent_s, since = loop.time() - started_at, "the start"
        else:
            silent_s, since = loop.time() - node.last_read_at, "the last answer"
        if node.last_read_at and silent_s <= SILENCE_MAX_S:
            return None
        return f"the store has said nothing in the {silent_s:.0f} s since {since}"

    return unready
