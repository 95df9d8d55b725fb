"""Operations: health, readiness, metrics, statistics, and the API's own description."""

from typing import Any

from app import __version__
from app.api.answers import Answer, model_answer
from app.api.call import Ask
from app.api.deadline import within
from app.api.problems import NOT_READY, Problem
from app.api.schemas.fields import Nothing
from app.api.schemas.operations import Check, Health, Readiness, Stats
from app.api.services import Services
from app.clock import now_ms
from app.domain.snapshot import CHANNELS, Snapshot, added
from app.errors import StoreError
from app.metrics import CONTENT_TYPE, PUSH_BOUNDS_S
from app.store.canary import newest_ms
from app.store.stats import Member, Worker, read_stats
from app.store.stats import Stats as StoreStats
from app.wire import rfc3339

_SHOWN = (
    *("id", "role", "version", "memory_bytes", "delivered"),
    *("sockets_open", "attempts_open", "leases_held", "posts_accepted"),
)
CANARY_AGE_MAX_S = 30
READY_TIMEOUT_S = 1.0


async def health(_: Ask[Nothing, Nothing]) -> Answer:
    """Whether this process lives."""
    return model_answer(200, Health(status="ok", version=__version__))


async def ready(ask: Ask[Nothing, Nothing]) -> Answer:
    """Whether the store answers, and a canary came through the streams lately."""
    checks = await _checks(ask.services)
    if all(check.ok for check in checks.values()):
        return model_answer(200, Readiness(ready=True, checks=checks))
    wrong = "; ".join(check.detail for check in checks.values() if not check.ok)
    shown = {name: check.model_dump() for name, check in checks.items()}
    raise Problem(
        NOT_READY,
        wrong,
        headers={"Retry-After": "5"},
        members={"ready": False, "checks": shown},
    )


async def _checks(services: Services) -> dict[str, Check]:
    # Whoever probes for readiness seldom waits as long as an answer may take.
    limit_s = min(READY_TIMEOUT_S, services.limits.answer_timeout_s / 2)
    try:
        newest = await within(limit_s, _newest_canary(services))
    except StoreError:
        return {"store": Check(ok=False, detail="the store does not answer")}
    store = Check(ok=True, detail="the store answers")
    return {"store": store, "canary": _canary(newest, now_ms())}


async def _newest_canary(services: Services) -> int | None:
    await services.store.broadcast("PING")
    return await newest_ms(services.store, services.shards)


def _canary(newest: int | None, now: int) -> Check:
    if newest is None:
        return Check(ok=False, detail="no canary has come through the streams: is a worker there?")
    age_s = (now - newest) / 1000
    if age_s > CANARY_AGE_MAX_S:
        return Check(ok=False, detail=f"the last canary came through {age_s:.0f} s ago")
    return Check(ok=True, detail=f"a canary of {max(age_s, 0):.1f} s ago came through the streams")


async def metrics(ask: Ask[Nothing, Nothing]) -> Answer:
    """What this process counts, for Prometheus."""
    return Answer(200, ask.services.metrics.render(), CONTENT_TYPE.encode())


async def stats(ask: Ask[Nothing, Nothing]) -> Answer:
    """Queues, leases, nodes, workers, and endpoints by state."""
    found = await read_stats(ask.services.store, ask.services.shards)
    return model_answer(200, show_stats(found))


def show_stats(found: StoreStats) -> Stats:
    processes = found["processes"]
    shown = {
        **found,
        "nodes": [_with_time(node) for node in found["nodes"]],
        "workers": [_with_time(worker) for worker in found["workers"]],
        "processes": [_process(one) for one in processes],
        "delivered": {
            channel: sum(one.delivered.get(channel, 0) for one in processes) for channel in CHANNELS
        },
        "push_seconds": {
            "bounds": PUSH_BOUNDS_S,
            "counts": {
                channel: added(
                    [one.push_counts.get(channel, ()) for one in processes], len(PUSH_BOUNDS_S) + 1
                )
                for channel in CHANNELS
            },
        },
    }
    return Stats.model_validate(shown)


def _process(one: Snapshot) -> dict[str, Any]:
    return {
        **{name: getattr(one, name) for name in _SHOWN},
        "started_at": rfc3339(one.started_at_ms),
        "seen_at": rfc3339(one.at_ms),
    }


def _with_time(member: Member | Worker) -> dict[str, Any]:
    return {**member, "seen_at": rfc3339(member["seen_at_ms"])}
