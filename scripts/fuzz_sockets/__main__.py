"""Sends random and mutated frames to a gateway, and counts what became of them.

`make fuzz` sends a million. Ends with 1 when something went wrong; the seed brings it back.
"""

import argparse
import logging
import sys
import tracemalloc

import uvloop

from scripts.fuzz_sockets.run import Fuzz, Report, judge


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    tracemalloc.start()
    report = uvloop.run(Fuzz(options.seed).run(options.frames))
    tell(report)
    failures = judge(report)
    for failure in failures:
        print(f"FAILED: {failure}")
    sys.exit(bool(failures))


def tell(report: Report) -> None:
    rate = report.frames / report.seconds
    print(f"seed {report.seed}: {report.frames:,} frames from {report.clients:,} clients")
    print(f"in {report.seconds:.0f} s, {rate:,.0f} frames a second; {report.events:,} events came")
    print("closed:", ", ".join(f"{code} {n:,}" for code, n in sorted(report.closed.items())))
    print("refused:", ", ".join(f"{limit} {n:,}" for limit, n in sorted(report.refused.items())))
    print("answers:", ", ".join(f"{status} {n:,}" for status, n in sorted(report.statuses.items())))
    for level in report.levels:
        held = f"{level.objects:,} objects, {level.traced_bytes / 1024:,.0f} KiB"
        print(f"after {level.frames:>9,} frames, nobody here: {held}")


if __name__ == "__main__":
    main()
