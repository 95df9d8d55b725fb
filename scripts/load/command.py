"""The command: reads what is asked for, runs it, writes the report."""

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvloop
from rich.console import Console

from app.commands.process import raise_file_limit
from app.commands.signals import stop_on_signals
from app.errors import CommandFailed
from scripts.load.display import Display
from scripts.load.figures import figures
from scripts.load.options import Options, as_typed, read_options
from scripts.load.page import page
from scripts.load.run import Outcome, run
from scripts.load.scenarios import SCENARIOS
from scripts.load.table import tables

WIDTH = 150  # of what is printed where no terminal says how wide it is


def main(arguments: Sequence[str]) -> int:
    """0 when all bars of the scenario are met, 1 when one is missed, 2 when it was not played."""
    options = read_options(
        arguments,
        {name: scenario.about for name, scenario in SCENARIOS.items()},
        {name: scenario.defaults for name, scenario in SCENARIOS.items()},
    )
    if not Path("/proc/self/stat").exists():
        print("load_test.py: needs Linux: CPU and memory are read from /proc", file=sys.stderr)
        return 2
    raise_file_limit()
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = WIDTH
    directory = Path(tempfile.mkdtemp(prefix="moments-load-"))
    try:
        outcome = uvloop.run(_stoppable(options, directory, console))
    except CommandFailed as failure:
        print(f"load_test.py: {failure}\nlogs are in {directory}", file=sys.stderr)
        return 2
    if options.keep:
        console.print(f"store and logs are in {directory}")
    else:
        shutil.rmtree(directory, ignore_errors=True)
    found = figures(outcome, as_typed(arguments, options.key))
    console.print(tables(found))
    _write(found, options.out, console)
    return 1 if any(finding.is_met is False for finding in outcome.findings) else 0


def _write(found: dict[str, object], out: Path, console: Console) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / "report.html").write_text(page(found))
    console.print(f"\n{out / 'report.html'} and report.json beside it")


async def _stoppable(options: Options, directory: Path, console: Console) -> Outcome:
    """Raises CommandFailed when a signal asks to stop: everything that was started ends first."""
    stop = stop_on_signals()
    with Display(console) as display:
        scenario = SCENARIOS[options.scenario]
        running = asyncio.create_task(run(scenario, options, directory, display), name="run")
        asked = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait({running, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                raise CommandFailed("stopped before the end")
            return await running
        finally:
            for task in (running, asked):
                task.cancel()
            await asyncio.wait({running, asked})
