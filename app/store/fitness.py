"""Whether the servers behind a store keep what they are given: versions, eviction, persistence."""

from collections.abc import Mapping
from typing import Any

from app.errors import CommandRejected, StoreUnfit
from app.store.client import Store
from app.store.durability import Ack

VERSION_MIN = (7, 2)

# Until Redis 8, and in Valkey (seen in 9.1.2), a server with `appendfsync everysec` counts data
# as synced that it has only written, so that WAITAOF answers too early. Cured in
# https://github.com/redis/redis/pull/13793.
HONEST_WAITAOF_REDIS = (8, 0)


async def check_fitness(store: Store, durable: Ack = "memory") -> list[str]:
    """Looks at every primary; returns warnings.

    Raises StoreUnfit when a server is too old, evicts keys, or cannot give what `durable`
    promises. What the server does not let us see is a warning.
    """
    try:
        reports = await store.broadcast("INFO")
    except CommandRejected as error:
        return [f"the store cannot be checked, it does not allow INFO ({error})"]
    warnings: list[str] = []
    for report in reports:
        info = _fields(report)
        _check_version(info)
        warnings += _check_eviction(info)
        warnings += _check_persistence(info)
        if durable == "replica":
            warnings += _check_replicas(info)
        if durable == "fsync":
            warnings += await _check_fsync(store, info)
    return list(dict.fromkeys(warnings))


def _check_version(info: Mapping[str, str]) -> None:
    """Valkey states the Redis version that it is compatible with: 7.2.4 in all of them."""
    version = _version(info)
    if version < VERSION_MIN:
        found = ".".join(map(str, version))
        raise StoreUnfit(f"the server is Redis {found}; 7.2 or newer is needed, or any Valkey")


def _check_eviction(info: Mapping[str, str]) -> list[str]:
    policy = info.get("maxmemory_policy")
    if policy is None:
        return ["the server does not tell its maxmemory-policy; make sure that it is noeviction"]
    if policy != "noeviction":
        raise StoreUnfit(
            f"the server's maxmemory-policy is {policy}: when its memory is full, it throws away "
            "posts and deliveries. Run CONFIG SET maxmemory-policy noeviction, and set it in its "
            "configuration"
        )
    return []


def _check_persistence(info: Mapping[str, str]) -> list[str]:
    if info.get("aof_enabled") == "0":
        return [
            "the server's append-only file is off: when it dies, it loses what came since its "
            "last snapshot. Run CONFIG SET appendonly yes, and set it in its configuration"
        ]
    return []


def _check_replicas(info: Mapping[str, str]) -> list[str]:
    if info.get("connected_slaves") == "0":
        return ["MOMENTS_ACK is replica, but a server has none: every post will be answered 503"]
    return []


async def _check_fsync(store: Store, info: Mapping[str, str]) -> list[str]:
    if info.get("aof_enabled") == "0":
        raise StoreUnfit("MOMENTS_ACK is fsync, but the append-only file of the server is off")
    try:
        settings = await store.broadcast("CONFIG", "GET", "appendfsync")
    except CommandRejected as error:
        return [f"MOMENTS_ACK is fsync, but appendfsync cannot be read ({error}): is it always?"]
    for _, policy in settings:
        if policy == b"always" or (policy == b"everysec" and _is_waitaof_honest(info)):
            continue
        raise StoreUnfit(
            f"MOMENTS_ACK is fsync, but with appendfsync {policy.decode()} this server does not "
            "say truly when data is on disk. Run CONFIG SET appendfsync always, and set it in its "
            "configuration"
        )
    return []


def _is_waitaof_honest(info: Mapping[str, str]) -> bool:
    return "valkey_version" not in info and _version(info) >= HONEST_WAITAOF_REDIS


def _version(info: Mapping[str, str]) -> tuple[int, ...]:
    return tuple(int(part) for part in info["redis_version"].split(".") if part.isdigit())


def _fields(report: Any) -> dict[str, str]:
    """The `name:value` lines of a reply to INFO."""
    lines = report.decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
