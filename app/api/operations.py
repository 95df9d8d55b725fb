"""Operations: health, readiness, metrics, statistics, and the API's own description."""

from app import __version__
from app.api.answers import Answer, json_answer, model_answer
from app.api.call import Ask
from app.api.problems import NOT_READY, Problem
from app.api.schemas.fields import Nothing
from app.api.schemas.operations import Check, Health, Readiness
from app.api.services import Services
from app.clock import now_ms
from app.errors import StoreError
from app.metrics import CONTENT_TYPE
from app.store.canary import newest_ms
from app.store.stats import read_stats

CANARY_AGE_MAX_S = 30


async def health(_: Ask[Nothing, Nothing]) -> Answer:
    return model_answer(200, Health(status="ok", version=__version__))


async def ready(ask: Ask[Nothing, Nothing]) -> Answer:
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
    try:
        await services.store.broadcast("PING")
        newest = await newest_ms(services.store, services.shards)
    except StoreError:
        return {"store": Check(ok=False, detail="the store does not answer")}
    store = Check(ok=True, detail="the store answers")
    return {"store": store, "canary": _canary(newest, now_ms())}


def _canary(newest: int | None, now: int) -> Check:
    if newest is None:
        return Check(ok=False, detail="no canary has come through the streams: is a worker there?")
    age_s = (now - newest) / 1000
    if age_s > CANARY_AGE_MAX_S:
        return Check(ok=False, detail=f"the last canary came through {age_s:.0f} s ago")
    return Check(ok=True, detail=f"a canary of {max(age_s, 0):.1f} s ago came through the streams")


async def metrics(ask: Ask[Nothing, Nothing]) -> Answer:
    return Answer(200, ask.services.metrics.render(), CONTENT_TYPE.encode())


async def stats(ask: Ask[Nothing, Nothing]) -> Answer:
    return json_answer(200, await read_stats(ask.services.store, ask.services.shards))
