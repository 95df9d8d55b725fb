"""Runs the benchmarks, all or some, and prints what was measured beside its bar and its peers.

    python -m scripts.bench [NAME …] [--write docs/performance.md]

One after the other, since each wants the machine for itself. Each one's rows are kept in
reports/bench/rows.json, so that one can be run again without the others.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from app.commands.process import raise_file_limit
from app.errors import CommandFailed
from scripts.bench.suite import REPORTS, SUITE, BenchFailed
from scripts.bench.table import missing, table, write_into
from scripts.load.processes import machine

ROWS = REPORTS / "rows.json"


def main(arguments: list[str]) -> int:
    """0 when all were measured, whether they met their bars or not."""
    asked = _parse(arguments)
    raise_file_limit()
    REPORTS.mkdir(parents=True, exist_ok=True)
    failed: list[str] = []
    for name in asked.names or SUITE:
        bench = SUITE[name]
        print(f"\n=== {name}: {bench.about} (about {bench.minutes:g} min)\n", flush=True)
        try:
            rows = uvloop.run(_measured(name))
        except (BenchFailed, CommandFailed, OSError, TimeoutError) as error:
            print(f"{name} was not measured: {error}", file=sys.stderr)
            failed.append(name)
            continue
        _keep(name, rows)
    text = report()
    print(f"\n{text}")
    if asked.write:
        write_into(asked.write, text)
    return 1 if failed else 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    about = "\n".join(f"  {name:<15} {bench.about}" for name, bench in SUITE.items())
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench",
        description=__doc__,
        epilog=f"benchmarks:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*SUITE, []])
    parser.add_argument("--write", type=Path, metavar="PAGE", help="puts the table there")
    return parser.parse_args(arguments)


async def _measured(name: str) -> Sequence[dict[str, object]]:
    return [row.as_json() for row in await SUITE[name].measure()]


def kept() -> dict[str, Any]:
    """What was measured so far, by benchmark."""
    return json.loads(ROWS.read_text()) if ROWS.exists() else {}


def _keep(name: str, rows: Sequence[dict[str, object]]) -> None:
    at = datetime.now(UTC).date().isoformat()
    found = {**kept(), name: {"at": at, "machine": machine(), "rows": rows}}
    ROWS.write_text(json.dumps(found, indent=1) + "\n")


def report() -> str:
    """The table of all that was measured so far, and where and when."""
    found = kept()
    benches = [found[name] for name in SUITE if name in found]
    rows = [row for bench in benches for row in bench["rows"]]
    where = {f"{one['machine']['cores']} cores of {one['machine']['cpu']}" for one in benches}
    days = sorted({one["at"] for one in benches})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    said = "".join(f"- {line}\n" for line in missing(rows))
    absent = f"\nNot installed when this was run:\n\n{said}" if said else ""
    return f"\n{table(rows)}\n{when}, {', '.join(sorted(where))}.\n{absent}\n" if benches else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
