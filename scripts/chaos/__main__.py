"""python -m scripts.chaos: runs the service, hurts it, and tells what became of every delivery."""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from pathlib import Path

import uvloop

from app.commands.process import raise_file_limit
from app.commands.signals import stop_on_signals
from app.errors import CommandFailed
from scripts.chaos.cast import PEOPLE
from scripts.chaos.plan import GAP_S
from scripts.chaos.report import as_json, lines
from scripts.chaos.run import Options, Result, run

MINUTES = 3.0


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.chaos", description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=MINUTES, help="of load (default 3)")
    length.add_argument("--seconds", type=float, help="the same in seconds")
    parser.add_argument("--seed", type=int, default=1, help="decides what happens, and when")
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--rate", type=float, default=25.0, help="calls per second")
    parser.add_argument("--away", type=float, help="seconds the store is away once (default 20)")
    gap = "seconds from one blow to the next, at least and at most"
    parser.add_argument("--gap", type=float, nargs=2, default=GAP_S, help=gap)
    parser.add_argument("--cluster", action="store_true", help="three masters, three replicas")
    parser.add_argument("--ack", choices=("memory", "fsync", "replica"), default="memory")
    lag = "seconds for which a replica gets nothing before its master is killed"
    parser.add_argument("--lag", type=float, default=0.0, help=lag)
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes the figures there")
    parser.add_argument("--keep", action="store_true", help="keeps data and logs in any case")
    return parser.parse_args(arguments)


async def main(asked: argparse.Namespace) -> bool:
    """Whether all was well. Data and logs are kept only if not."""
    raise_file_limit()
    options = Options(
        seconds=asked.seconds or asked.minutes * 60,
        seed=asked.seed,
        people=asked.people,
        calls_per_s=asked.rate,
        away_s=asked.away,
        gap_s=tuple(asked.gap),
        ack=asked.ack,
        cluster=asked.cluster,
        lag_s=asked.lag,
    )
    directory = Path(tempfile.mkdtemp(prefix="moments-chaos-"))
    is_good = False
    try:
        result = await stoppable(options, directory)
        is_good = result.is_good
        print("\n".join(lines(result)), flush=True)
        if asked.json:
            asked.json.write_text(json.dumps(as_json(result), indent=2) + "\n")
    except CommandFailed as failure:
        print(f"chaos: {failure}", file=sys.stderr)
    finally:
        if is_good and not asked.keep:
            shutil.rmtree(directory, ignore_errors=True)
        else:
            print(f"data and logs are in {directory}")
    return is_good


async def stoppable(options: Options, directory: Path) -> Result:
    """Raises CommandFailed when a signal asks to stop: everything that was started ends first."""
    stop = stop_on_signals()
    running = asyncio.create_task(run(options, directory, print_line), name="run")
    asked = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({running, asked}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            raise CommandFailed("stopped before the end")
        return await running
    except ExceptionGroup as group:
        raise _first(group) from group
    finally:
        for task in (running, asked):
            task.cancel()
        await asyncio.wait({running, asked})


def _first(error: Exception) -> Exception:
    """The failure that a group of groups was made for."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def print_line(words: str) -> None:
    print(words, flush=True)


if __name__ == "__main__":
    sys.exit(0 if uvloop.run(main(parse(sys.argv[1:]))) else 1)
