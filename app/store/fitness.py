"""Whether the servers behind a store keep what they are given: versions, eviction, persistence."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.errors import CommandRejected, StoreUnfit
from app.store.client import Store
from app.store.durability import Ack

VERSION_MIN = (7, 2)

# Until Redis 8, and in Valkey (seen in 9.1.2), a server with `appendfsync everysec` counts data
# as synced that it has only written, so that WAITAOF answers too early. Cured in
# https://github.com/redis/redis/pull/13793.
HONEST_WAITAOF_REDIS = (8, 0)


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that is not as it should be, and what to change.

    A fault is a reason not to use the store as it is; anything else is a warning. What the
    server does not let us see is a warning.
    """

    topic: str
    text: str
    is_fault: bool = False


@dataclass(frozen=True, slots=True)
class Fitness:
    """`servers` tells what each primary is, such as "Valkey 9.1.2"."""

    servers: tuple[str, ...]
    remarks: tuple[Remark, ...]


async def check_fitness(store: Store, durable: Ack = "memory") -> list[str]:
    """Looks at every primary; returns warnings. Raises StoreUnfit naming all faults."""
    fitness = await examine(store, durable)
    if faults := [remark.text for remark in fitness.remarks if remark.is_fault]:
        raise StoreUnfit("; ".join(faults))
    return [remark.text for remark in fitness.remarks]


async def examine(store: Store, durable: Ack = "memory") -> Fitness:
    """What there is to say of every primary, with what `durable` promises in mind."""
    try:
        reports = [info_fields(report) for report in await store.broadcast("INFO")]
    except CommandRejected as error:
        text = f"the store cannot be checked, it does not allow INFO ({error})"
        return Fitness((), (Remark("version", text),))
    remarks: list[Remark] = []
    for info in reports:
        remarks += [*_version(info), *_eviction(info), *_persistence(info)]
        if durable == "replica":
            remarks += _replicas(info)
        if durable == "fsync":
            remarks += await _fsync(store, info)
    return Fitness(tuple(map(_name, reports)), tuple(dict.fromkeys(remarks)))


def _version(info: Mapping[str, str]) -> Iterator[Remark]:
    """Valkey states the Redis version that it is compatible with: 7.2.4 in all of them."""
    version = _redis_version(info)
    if version < VERSION_MIN:
        found = ".".join(map(str, version))
        text = f"the server is Redis {found}; 7.2 or newer is needed, or any Valkey"
        yield Remark("version", text, is_fault=True)


def _eviction(info: Mapping[str, str]) -> Iterator[Remark]:
    policy = info.get("maxmemory_policy")
    if policy is None:
        yield Remark(
            "eviction",
            "the server does not tell its maxmemory-policy; make sure that it is noeviction",
        )
    elif policy != "noeviction":
        yield Remark(
            "eviction",
            f"the server's maxmemory-policy is {policy}: when its memory is full, it throws away "
            "posts and deliveries. Run CONFIG SET maxmemory-policy noeviction, and set it in its "
            "configuration",
            is_fault=True,
        )


def _persistence(info: Mapping[str, str]) -> Iterator[Remark]:
    if info.get("aof_enabled") == "0":
        yield Remark(
            "persistence",
            "the server's append-only file is off: when it dies, it loses what came since its "
            "last snapshot. Run CONFIG SET appendonly yes, and set it in its configuration",
        )


def _replicas(info: Mapping[str, str]) -> Iterator[Remark]:
    if info.get("connected_slaves") == "0":
        yield Remark(
            "ack", "MOMENTS_ACK is replica, but a server has none: every post will be answered 503"
        )


async def _fsync(store: Store, info: Mapping[str, str]) -> list[Remark]:
    if info.get("aof_enabled") == "0":
        text = "MOMENTS_ACK is fsync, but the append-only file of the server is off"
        return [Remark("ack", text, is_fault=True)]
    try:
        settings = await store.broadcast("CONFIG", "GET", "appendfsync")
    except CommandRejected as error:
        text = f"MOMENTS_ACK is fsync, but appendfsync cannot be read ({error}): is it always?"
        return [Remark("ack", text)]
    return [
        Remark(
            "ack",
            f"MOMENTS_ACK is fsync, but with appendfsync {policy.decode()} this server does not "
            "say truly when data is on disk. Run CONFIG SET appendfsync always, and set it in its "
            "configuration",
            is_fault=True,
        )
        for _, policy in settings
        if not (policy == b"always" or (policy == b"everysec" and _is_waitaof_honest(info)))
    ]


def _is_waitaof_honest(info: Mapping[str, str]) -> bool:
    return "valkey_version" not in info and _redis_version(info) >= HONEST_WAITAOF_REDIS


def _name(info: Mapping[str, str]) -> str:
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info['redis_version']}"


def _redis_version(info: Mapping[str, str]) -> tuple[int, ...]:
    return tuple(int(part) for part in info["redis_version"].split(".") if part.isdigit())


def info_fields(report: Any) -> dict[str, str]:
    """The `name:value` lines of a reply to INFO."""
    lines = report.decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
