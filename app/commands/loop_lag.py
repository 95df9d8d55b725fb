"""How late the event loop comes to its tasks: what else is slow, if not the store."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from app import metric_names as names
from app.metrics import Histogram, Metrics

LOOK_S = 0.25


@asynccontextmanager
async def watched_loop(metrics: Metrics) -> AsyncGenerator[None]:
    """While the block runs, `metrics` tell how late a task of this loop is woken."""
    lag = Histogram()
    metrics.register(names.LOOP_LAG, lambda: lag)
    looking = asyncio.create_task(_keep_looking(lag), name="loop-lag")
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def _keep_looking(lag: Histogram) -> None:
    loop = asyncio.get_running_loop()
    while True:
        asked_for = loop.time() + LOOK_S
        await asyncio.sleep(LOOK_S)
        lag.observe(max(loop.time() - asked_for, 0.0))
