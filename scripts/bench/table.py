"""The table of all rows, as Markdown, and its place in a page."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- the table: make bench -->", "<!-- end of the table -->"

_HEAD = (
    "| what | bar | measured | | others, in the same run | ratio | command |\n"
    "| --- | ---: | ---: | --- | --- | ---: | --- |\n"
)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """`rows` as `Row.as_json` gives them."""
    return _HEAD + "".join(_line(row) for row in rows)


def _line(row: Mapping[str, Any]) -> str:
    is_ratio = row["baseline"] is not None
    bar = "" if row["bar"] is None else f"≤ {row['bar']:,g}{' times' if is_ratio else _unit(row)}"
    measured = f"{_figure(row['value'])}{_unit(row)}"
    if is_ratio:
        measured = f"{row['ratio']:.2f} times ({measured}, {_figure(row['baseline'])}{_unit(row)})"
    verdict = {True: "met", False: "**missed**", None: ""}[row["met"]]
    peers = ", ".join(_peer(row, name, figure) for name, figure in row["peers"].items())
    return (
        f"| {row['what']} | {bar} | {measured} | {verdict} | {peers} | {_ratios(row)} "
        f"| `{row['source']}` |\n"
    )


def _unit(row: Mapping[str, Any]) -> str:
    return f" {row['unit']}" if row["unit"] else ""


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.2f}"


def _peer(row: Mapping[str, Any], name: str, figure: float | str) -> str:
    if isinstance(figure, str):
        return f"{name} is missing"
    return f"{name} {_figure(figure)}{_unit(row)}"


def _ratios(row: Mapping[str, Any]) -> str:
    """How many times as much the others need."""
    found = [
        f"{figure / row['value']:.2g}"
        for figure in row["peers"].values()
        if not isinstance(figure, str) and row["value"]
    ]
    return ", ".join(found)


def missing(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to do about peers that are not installed."""
    said = {
        f"{name}: {why}"
        for row in rows
        for name, why in row["peers"].items()
        if isinstance(why, str)
    }
    return sorted(said)


def write_into(page: Path, text: str) -> None:
    """Replaces what stands between the marks of a page. Raises ValueError when it has none."""
    before = page.read_text()
    pattern = re.compile(rf"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(before):
        raise ValueError(f"{page} has no place for the table: {BEGIN} … {END}")
    page.write_text(pattern.sub(lambda _: f"{BEGIN}\n{text}{END}", before))
