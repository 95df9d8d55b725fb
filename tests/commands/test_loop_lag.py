import time

from app import metric_names as names
from app.commands import loop_lag
from app.commands.loop_lag import watched_loop
from app.metrics import Histogram, Metrics
from tests.wait import wait_until


async def test_a_loop_that_is_held_up_is_seen(monkeypatch):
    monkeypatch.setattr(loop_lag, "LOOK_S", 0.01)
    metrics = Metrics()
    async with watched_loop(metrics):
        lag = metrics.read(names.LOOP_LAG)
        assert isinstance(lag, Histogram)
        await wait_until(lambda: sum(lag.counts) >= 2)
        before = lag.sum
        time.sleep(0.1)  # noqa: ASYNC251 - this is what must not happen
        await wait_until(lambda: lag.sum > before + 0.08)
