"""One process of the service: what all roles share, from the settings to the order to stop."""

import asyncio
import gc
import logging
import resource
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import uvloop

from app import __version__, log
from app import metric_names as names
from app.clock import now_ms
from app.commands.environment import read_settings
from app.commands.signals import stop_on_signals, stop_with_parent
from app.errors import CommandFailed, MomentsError
from app.metrics import Labels, Metrics
from app.settings import Settings
from app.store.traffic import Traffic

if TYPE_CHECKING:
    from app.tracing import Tracer

Work = Callable[[Settings, asyncio.Event], Awaitable[None]]

# Objects allocated before the youngest generation is looked at, then how often the older ones are.
# The defaults (700, 10, 10) cost a busy process several percent; a cycle here is rare.
_GC_THRESHOLDS = (50_000, 20, 50)

logger = logging.getLogger(__name__)


def run_process(role: str, work: Work) -> None:
    """Runs `work` until it returns, with an event that is set when the process is to stop.

    Raises CommandFailed when it cannot do its work as things are set up.
    """
    settings = read_settings()
    log.configure(settings.log_format, settings.log_level, role=role)
    raise_file_limit()
    try:
        uvloop.run(_until_asked(work, settings))
    except MomentsError as error:
        raise CommandFailed(str(error)) from error


async def _until_asked(work: Work, settings: Settings) -> None:
    stop = stop_on_signals()
    stop_with_parent(stop)
    logger.info("starting", extra={"version": __version__})
    await work(settings, stop)
    logger.info("stopped")


def settle_memory() -> None:
    """Takes all that the start has made, modules above all, out of the garbage collector's way."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def raise_file_limit() -> None:
    """Lets this process have as many files and sockets open as its hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError) as error:  # macOS has a lower limit that it does not tell
            logger.warning("file limit stays", extra={"limit": soft, "reason": str(error)})


def process_metrics(role: str, traffic: Traffic, tracer: "Tracer | None" = None) -> Metrics:
    """The metrics of this process, with what tells one process from another, its traffic with the
    store and its spans."""
    made = Metrics()
    started_s = now_ms() / 1000
    made.register(names.BUILD, lambda: {(("version", __version__), ("role", role)): 1.0})
    made.register(names.STARTED, lambda: started_s)
    made.register(names.STORE_CALLS, lambda: traffic.calls)
    made.register(names.STORE_ERRORS, lambda: traffic.errors)
    made.register(names.STORE_TIME, traffic.by_ack)
    made.register(names.SPANS, lambda: {} if tracer is None else _spans(tracer))
    return made


def _spans(tracer: "Tracer") -> dict[Labels, float]:
    return {(("result", result),): count for result, count in tracer.stats.results().items()}
