"""What `moments doctor` finds in the store: its servers, its clock, what it was made for."""

from collections.abc import Callable
from typing import Any

from app.commands.environment import variable
from app.commands.finding import Finding, Level, fault, ok, warning
from app.errors import CommandRejected, StoreError, StoreUnfit
from app.log import mask
from app.settings import Settings
from app.store.apikeys import ApiKeys, Scope
from app.store.client import Store, connect
from app.store.fitness import Remark, examine
from app.store.schema import read_schema
from app.store.url import StoreUrl
from app.tokens import LEEWAY_S

SKEW_WARNED_OF_S = 1.0

Clock = Callable[[], int]  # milliseconds since 1970


async def look_at_store(settings: Settings, clock: Clock) -> list[Finding]:
    """Reads only: a store that was never used stays so."""
    where = mask(settings.redis_url)
    try:
        store = connect(settings.redis_url, password=settings.redis_password)
    except StoreUnfit as error:
        return [fault("store", f"{variable('redis_url')}: {error}")]
    try:
        return [
            *await _look_at_servers(store, settings, where),
            *await _look_at_access(store, settings),
            await _look_at_clock(store, clock),
            await _look_at_schema(store, settings),
            await _look_for_admin(store, settings),
        ]
    except StoreError as error:
        text = f"{where} cannot be used: {error}. Start it, or correct {variable('redis_url')}"
        return [fault("store", text)]
    finally:
        await store.close()


async def _look_at_servers(store: Store, settings: Settings, where: str) -> list[Finding]:
    fitness = await examine(store, settings.ack)
    servers = ", ".join(fitness.servers) or "a server"
    wrong = [_finding(remark) for remark in fitness.remarks]
    if wrong:
        return [ok("store", f"{servers} at {where}"), *wrong]
    return [ok("store", f"{servers} at {where}, which evicts nothing and keeps a log on disk")]


async def _look_at_access(store: Store, settings: Settings) -> list[Finding]:
    """Nothing to say where we had to log in, on a Unix socket, or as a user who may not ask."""
    where = StoreUrl.parse(settings.redis_url, settings.redis_password)
    if where.login.password or where.addresses[0].is_path:
        return []
    try:
        replies = await store.broadcast("ACL", "GETUSER", "default")
    except CommandRejected:  # who may not ask is not all-powerful
        return []
    if not any(_may_do_anything(reply) for reply in replies):
        return []
    text = (
        "anybody who can reach the store may do anything there: its user `default` has no password "
        "and every right. Give the service a user of its own, and `default` none: docs/store.md"
    )
    return [warning("access", text)]


def _may_do_anything(reply: list[Any]) -> bool:
    """From a reply of ACL GETUSER: names and values in turn."""
    user = dict(zip(reply[::2], reply[1::2], strict=True))
    return b"nopass" in user[b"flags"] and b"+@all" in user[b"commands"].split()


def _finding(remark: Remark) -> Finding:
    level = Level.FAULT if remark.is_fault else Level.WARNING
    return Finding(remark.topic, level, remark.text)


async def _look_at_clock(store: Store, clock: Clock) -> Finding:
    """Clocks are apart by no less than this, however long the answers took."""
    before_ms = clock()
    times_ms = [int(s) * 1000 + int(us) // 1000 for s, us in await store.broadcast("TIME")]
    after_ms = clock()
    ahead_s = max(before_ms - min(times_ms), 0) / 1000
    behind_s = max(max(times_ms) - after_ms, 0) / 1000
    skew_s = max(ahead_s, behind_s)
    if skew_s <= SKEW_WARNED_OF_S:
        return ok("clock", "this machine and the store agree what time it is")
    text = (
        f"this machine's clock is {skew_s:.1f} s {'ahead of' if ahead_s else 'behind'} the "
        "store's: retries come early or late, and tokens end so. Let both follow a time server "
        "(timedatectl set-ntp true)"
    )
    return fault("clock", text) if skew_s > LEEWAY_S else warning("clock", text)


async def _look_at_schema(store: Store, settings: Settings) -> Finding:
    try:
        meta = await read_schema(store, settings.shards)
    except StoreUnfit as error:
        return fault("schema", str(error))
    if meta is None:
        return ok("schema", "the store is new: its first use decides the number of shards")
    return ok("schema", f"schema {meta.schema}, {meta.shards} shards, epoch {meta.epoch}")


async def _look_for_admin(store: Store, settings: Settings) -> Finding:
    api_keys = ApiKeys(store, api_keys_max=settings.api_keys_max)
    if settings.admin_key is not None:
        return await _look_at_admin_key(api_keys, settings.admin_key)
    keys = [key for key in await api_keys.all() if not key.of_settings]
    if any(Scope.ADMIN in key.scopes for key in keys):
        return ok("admin key", f"none is set, and one of the store's {len(keys)} keys is one")
    return fault(
        "admin key",
        f"{variable('admin_key')} is not set and the store has none that stays without, so that "
        'nobody can make API keys. Give every api one: `echo "mk_$(openssl rand -hex 32)"`',
    )


async def _look_at_admin_key(api_keys: ApiKeys, secret: str) -> Finding:
    if not await api_keys.is_revoked(secret):
        return ok("admin key", "there is one")
    return fault(
        "admin key",
        f"the one in {variable('admin_key')} was revoked by call: set another, which "
        '`echo "mk_$(openssl rand -hex 32)"` makes, and start every api anew',
    )
