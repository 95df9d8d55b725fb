"""A benchmark as a command of its own: runs it, prints its table, keeps its rows if asked to."""

import asyncio
import json
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import uvloop

from app.commands.process import raise_file_limit
from app.errors import CommandFailed
from scripts.bench.row import Row
from scripts.bench.table import missing, table


def run(measuring: Coroutine[Any, Any, Sequence[Row]], kept_in: Path | None) -> None:
    """Exits with 1 when something failed; a missed bar is no failure."""
    raise_file_limit()
    try:
        rows = [row.as_json() for row in uvloop.run(_stoppable(measuring))]
    except CommandFailed as failure:
        sys.exit(f"not measured: {failure}")
    except asyncio.CancelledError:
        sys.exit("stopped before the end")
    print(f"\n{table(rows)}")
    for line in missing(rows):
        print(f"missing: {line}")
    if kept_in is not None:
        kept_in.write_text(json.dumps(rows, indent=1) + "\n")


async def _stoppable(measuring: Coroutine[Any, Any, Sequence[Row]]) -> Sequence[Row]:
    """What has been started ends with it, whoever asks it to end."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await measuring
