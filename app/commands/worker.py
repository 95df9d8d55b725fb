"""`moments worker`: a worker with its store, and what it tells of itself."""

import asyncio
import logging
from collections.abc import Collection

from app.bounds import told_bounds
from app.commands.api import make_sealer
from app.commands.egress import check_egress
from app.commands.environment import variable
from app.commands.opening import Opened, opened_store
from app.commands.probe import listen_on
from app.commands.process import Work, process_metrics, settle_memory
from app.metrics import Metrics
from app.settings import Settings
from app.store.processes import Publisher, published
from workers.metrics import register
from workers.ops import serve_ops
from workers.supervisor import ROLES, Worker

log = logging.getLogger(__name__)


def worker_of(roles: Collection[str] | None) -> Work:
    """The work of a process that takes these roles only; all of them for None or none."""
    chosen = frozenset(str(role) for role in roles) if roles else ROLES

    async def run_worker(settings: Settings, stop: asyncio.Event) -> None:
        sealer = make_sealer(settings)
        check_egress(settings)
        async with opened_store(settings, stop) as opened:
            if opened is None:
                return
            worker = Worker(
                settings,
                opened.store,
                opened.meta.shards,
                sealer,
                roles=chosen,
                watch=opened.watch(),
            )
            metrics = process_metrics("worker")
            register(metrics, worker.stats)
            settle_memory()
            async with told_bounds(metrics), published(snapshots_of(worker, opened, metrics)):
                if settings.ops_port:
                    await _run_with_ops(settings, worker, metrics, stop)
                else:
                    await worker.run(stop)

    return run_worker


def snapshots_of(worker: Worker, opened: Opened, metrics: Metrics) -> Publisher:
    """What tells others how this worker is."""
    return Publisher(opened.store, opened.meta.shards, worker.id, "worker", metrics)


async def _run_with_ops(
    settings: Settings, worker: Worker, metrics: Metrics, stop: asyncio.Event
) -> None:
    """Health and metrics are there until the last work is done: that is when they are asked for."""
    ended = asyncio.Event()
    with listen_on(settings.host, settings.ops_port, variable("ops_port")) as listener:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(serve_ops(listener, metrics, worker.unready, ended), name="ops")
            try:
                await worker.run(stop)
            finally:
                ended.set()
