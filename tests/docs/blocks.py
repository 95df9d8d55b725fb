"""The fenced blocks of the documents, and how each says that it is to be tried.

Behind the language stands a mark, which no reader of the rendered page sees:

    sh terminal=NAME   a terminal of its own: started, waited for until it is ready, left running
    sh run             run to its end, which has to be a success
    sh run=root        the same, in the project's own folder
    sh dry             what takes minutes: commands and options exist; run by `-m minutes`
    sh env             variables that are settings, with values that are taken
    sh backup=STEP     run by tests/docs/test_backup.py; python as well
    python file=NAME   written to NAME, for the blocks that follow; it compiles
    python run         run to its end
    js file=NAME       the same of JavaScript, without compiling it
    js run             run to its end, by Node
    python client=NAME   run by tests/clients/python/test_readme.py
    js client=NAME       run by tests/clients/test_js_readme.py
    text output        what the block before prints, among other things; … stands for anything
    text output=NAME   what that terminal prints
    text drawing       a picture made of letters
    http webhook       a webhook as receivers get it, and perhaps the answer to it
    json body=CALL     what a call takes, by its name in the description
    json answer=CALL   what it answers
    json frame         one frame of a socket a line, either way
    json webhook       the body of a webhook
    json echo          what verifies an endpoint
    yaml parse         somebody else's configuration: it can be read
    console dry        as `sh dry`, behind a `$ `, with what was printed when it was measured

The blocks of a page are tried from first to last, in one folder. A page with the comment
`<!-- a service runs -->` begins where README's service is running, as does one that starts it with
the same command; one with `<!-- a service has run -->` where it has been stopped.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SERVICE = "<!-- a service runs -->"
DATA = "<!-- a service has run -->"

_FENCE = re.compile(r"^( *)```(.*)$")

# The marks of each language that something tries.
KINDS = {
    "sh": {"terminal", "run", "dry", "env", "backup"},
    "python": {"file", "run", "backup", "client"},
    "js": {"file", "run", "client"},
    "text": {"output", "drawing"},
    "http": {"webhook"},
    "json": {"body", "answer", "frame", "webhook", "echo"},
    "yaml": {"parse"},
    "console": {"dry"},
}


@dataclass(frozen=True, slots=True)
class Block:
    """One block. `kind` and `value` are the two sides of its mark."""

    page: Path
    line: int
    language: str
    kind: str
    value: str
    text: str

    def __str__(self) -> str:
        shown = self.page.relative_to(ROOT) if self.page.is_relative_to(ROOT) else self.page
        return f"{shown}:{self.line}"


def pages() -> list[Path]:
    """Every document that a reader is led to."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return found + sorted((ROOT / "clients").glob("*/README.md"))


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in their order. Raises ValueError for a fence that is never closed."""
    return list(_blocks(page, page.read_text()))


def _blocks(page: Path, text: str) -> Iterator[Block]:
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if (opened := _FENCE.match(line)) is None:
            continue
        indent, info = opened.groups()
        held: list[str] = []
        for _, inside in lines:
            if inside == f"{indent}```":
                break
            held.append(inside.removeprefix(indent))
        else:
            raise ValueError(f"{page}:{number} is never closed")
        language, _, mark = info.strip().partition(" ")
        kind, _, value = mark.partition("=")
        yield Block(page, number, language, kind, value, "".join(f"{one}\n" for one in held))


def why_untried(block: Block) -> str | None:
    """None when something tries this block."""
    kinds = KINDS.get(block.language)
    if kinds is None:
        return f"{block}: nothing tries the language {block.language!r}"
    if block.kind not in kinds:
        return f"{block}: {block.language} needs a mark behind it: {', '.join(sorted(kinds))}"
    return None
