"""What the suite found, as a table: cases that have the same verdict share a row."""

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Final

HEAD: Final = ("| cases | what is expected | number | behaviour |", "| --- | --- | --- | --- |")

# By the longest beginning of a case's number. After the suite's own words.
EXPECTED: Final[Mapping[str, str]] = {
    "1.1": "texts of 0 to 65,536 bytes, one in chops: said again",
    "1.2": "binary messages of the same sizes: said again",
    "2": "pings: answered with their payload, in order; over 125 bytes: failed; pongs: passed over",
    "3": "reserved bits: failed; a message before them is said again first",
    "4.1": "reserved opcodes 3 to 7: failed; a message before them is said again first",
    "4.2": "reserved opcodes 11 to 15: failed; a message before them is said again first",
    "5": "fragments: joined, with control frames in between; out of order: failed",
    "6.1": "UTF-8: empty fragments",
    "6.2": "UTF-8 in one frame, and cut between and within characters",
    "6.3": "no UTF-8, in one frame and byte by byte: failed",
    "6.4": "no UTF-8: failed as soon as that is clear, not when the message has ended",
    "6": "UTF-8 sequences of Markus Kuhn's test: valid ones said again, others failed",
    "7.1": "closing: answered, and what comes behind it not looked at",
    "7.3": "close frames of every length: answered, or failed when too short or too long",
    "7.5": "a reason that is not UTF-8: failed",
    "7.7": "close codes that may be sent: answered",
    "7.9": "close codes that may not: failed",
    "7.13": "close codes beyond 4999: not defined",
    "9.1": "texts of 64 KiB to 16 MiB",
    "9.2": "binary messages of 64 KiB to 16 MiB",
    "9.3": "a text of 4 MiB in fragments of 64 bytes to 4 MiB",
    "9.4": "a binary message of 4 MiB in fragments of 64 bytes to 4 MiB",
    "9.5": "a text of 1 MiB in chops of 64 to 2,048 bytes",
    "9.6": "a binary message of 1 MiB in chops of 64 to 2,048 bytes",
    "9.7": "1,000 texts of 0 to 4,096 bytes, one after the other",
    "9.8": "1,000 binary messages of 0 to 4,096 bytes, one after the other",
    "10": "a text of 65,536 bytes in fragments of 1,300",
    "12": "compression of messages of many kinds and sizes",
    "13": "compression with every parameter",
}


def number(case: str) -> tuple[int, ...]:
    return tuple(int(part) for part in case.split("."))


def expectation(case: str) -> str:
    parts = case.split(".")
    found = (EXPECTED.get(".".join(parts[:length])) for length in (2, 1))
    return next(words for words in found if words)


def rows(verdicts: Mapping[str, str]) -> list[str]:
    """The lines of a table in Markdown. `verdicts`: by the number of the case."""
    cases = sorted(verdicts, key=number)
    grouped = groupby(cases, key=lambda case: (expectation(case), verdicts[case]))
    lines: dict[tuple[str, str], list[str]] = {}
    for kind, of_kind in grouped:
        lines.setdefault(kind, []).extend(of_kind)
    return [
        *HEAD,
        *(
            f"| {ranges(of_kind)} | {words} | {len(of_kind)} | {verdict} |"
            for (words, verdict), of_kind in lines.items()
        ),
    ]


def ranges(cases: Iterable[str]) -> str:
    """`1.1.1 to 1.1.8, 6.4.1`."""
    runs: list[list[tuple[int, ...]]] = []
    for one in map(number, cases):
        if runs and runs[-1][-1] == (*one[:-1], one[-1] - 1):
            runs[-1].append(one)
        else:
            runs.append([one])
    return ", ".join(" to ".join(_ends(run)) for run in runs)


def _ends(run: list[tuple[int, ...]]) -> list[str]:
    ends = run if len(run) == 1 else (run[0], run[-1])
    return [".".join(map(str, one)) for one in ends]
