"""What the documents have from the code: the table of settings in docs/operations.md.

python -m scripts.docs            prints it
python -m scripts.docs --write    puts it in its place: `make docs`
"""

import argparse
import inspect
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo

from app.settings import SECRET_SETTINGS, Settings

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "operations.md"
BEGIN, END = "<!-- make docs: begin -->", "<!-- make docs: end -->"

# The end of a name says what is counted.
_UNITS = {
    "_per_s": "a second",
    "_per_s_max": "a second",
    "_bytes_max": "bytes",
    "_ms": "ms",
    "_s": "s",
    "_max_s": "s",
    "_days": "days",
}
_SPANS = ((86_400, "day"), (3_600, "h"), (60, "min"))
_HEADING = re.compile(r"^    # (.+)$")
_FIELD = re.compile(r"^    (\w+): ")


def table() -> str:
    """Every setting, in the groups and the order in which the class has them."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    for heading, names in groups():
        yield f"\n### {heading}\n"
        yield "| variable | default | unit | what it is | limits |"
        yield "| --- | --- | --- | --- | --- |"
        for name in names:
            field = Settings.model_fields[name]
            cells = (
                f"`{_variable(name)}`",
                default_of(name, field),
                unit_of(name),
                _told(name, field),
                limits_of(field),
            )
            yield f"| {' | '.join(cells)} |"


def groups() -> list[tuple[str, list[str]]]:
    """The comments between the fields of the class, and the fields behind each."""
    found: list[tuple[str, list[str]]] = []
    for line in inspect.getsource(Settings).splitlines():
        if heading := _HEADING.match(line):
            found.append((heading[1], []))
        elif (named := _FIELD.match(line)) and named[1] in Settings.model_fields:
            found[-1][1].append(named[1])
    return [(heading, names) for heading, names in found if names]


def _variable(name: str) -> str:
    return f"{Settings.model_config.get('env_prefix', '')}{name}".upper()


def _told(name: str, field: FieldInfo) -> str:
    told = " ".join((field.description or "").split()).replace("|", "\\|")
    in_file = f" Or `{_variable(name)}_FILE`." if name in SECRET_SETTINGS else ""
    return told + in_file


def default_of(name: str, field: FieldInfo) -> str:
    """As it would be set; what is long in seconds is told in words as well."""
    value: Any = field.default
    if value is None or value in ((), {}, ""):
        return ""
    if isinstance(value, tuple):
        return f"`{','.join(f'{one:g}' for one in value)}`"
    if isinstance(value, bool):
        return f"`{json.dumps(value)}`"
    if isinstance(value, int | float):
        words = _span(value) if unit_of(name) == "s" else ""
        return f"`{value:.15g}`{words}"
    return f"`{value}`"


def _span(seconds: float) -> str:
    for size, word in _SPANS:
        if seconds >= 2 * size and seconds % size == 0:
            count = int(seconds // size)
            return f" ({count} {word}{'s' if word == 'day' else ''})"
    return ""


def unit_of(name: str) -> str:
    fits = [ending for ending in _UNITS if name.endswith(ending)]
    return _UNITS[max(fits, key=len)] if fits else ""


def limits_of(field: FieldInfo) -> str:
    """The choices there are, or the numbers between which it has to be."""
    words = [one for one in get_args(field.annotation) if isinstance(one, str)]
    if words:
        return ", ".join(f"`{word}`" for word in words)
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [
        f"{sign} {getattr(one, name):,}"
        for one in field.metadata
        for name, sign in signs.items()
        if getattr(one, name, None) is not None
    ]
    return ", ".join(found)


def with_table(text: str) -> str:
    """The page with the table in its place. Raises ValueError when it has none."""
    pattern = re.compile(rf"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"the page has no place for the table: {BEGIN} … {END}")
    return pattern.sub(lambda _: f"{BEGIN}\n{table()}\n{END}", text)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.docs", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.relative_to(ROOT)}")
    if parser.parse_args(arguments).write:
        PAGE.write_text(with_table(PAGE.read_text()))
    else:
        print(table())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
