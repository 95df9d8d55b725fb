"""Runs the suite against the echo, prints what it found and writes it into the page.

`make autobahn` installs the suite and calls this. Ends with 1 when a case has failed.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

import uvloop

from scripts.autobahn.echo import EchoServer
from scripts.autobahn.table import rows

BEGIN: Final = "<!-- make autobahn: begin -->"
END: Final = "<!-- make autobahn: end -->"
FINE: Final = {"OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED"}


async def run_suite(command: Path, reports: Path) -> dict[str, str]:
    """The verdict for each case, the worse of the two: of what was said, and of the closing."""
    async with EchoServer().serving() as port:
        suite = await asyncio.create_subprocess_exec(
            *(str(command), "--outdir", str(reports), f"127.0.0.1:{port}"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await suite.communicate()  # it ends with 1 for cases that are not implemented
    index = reports / "index.json"
    if not index.is_file():
        raise SystemExit(f"{command} has written no report:\n{said.decode()}")
    [cases] = json.loads(index.read_text()).values()
    return {
        case: found["behavior"] if found["behaviorClose"] in FINE else found["behaviorClose"]
        for case, found in cases.items()
    }


def put_into(page: Path, lines: list[str]) -> None:
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{page} has no place for the table: {BEGIN} and {END}")
    page.write_text("\n".join((before + BEGIN, "", *lines, "", END + after)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kosoku", type=Path, help="the command that runs the suite's cases")
    parser.add_argument("--write", type=Path, help="the page whose table is renewed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as reports:
        verdicts = uvloop.run(run_suite(options.kosoku, Path(reports)))
    lines = rows(verdicts)
    print("\n".join(lines))
    counts = Counter(verdicts.values())
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()))
    if options.write is not None:
        put_into(options.write, lines)
    sys.exit(any(verdict not in FINE for verdict in verdicts.values()))


if __name__ == "__main__":
    main()
