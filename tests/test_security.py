"""docs/security.md tells what is: each line of the threat model names a test that is there."""

import ast
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "security.md"
HEAD = ["who", "tries", "is stopped by", "test"]


class Threat(NamedTuple):
    who: str
    tries: str
    defence: str
    test: str


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def threats_of(page: str) -> list[Threat]:
    """The rows of all tables that have a column for tests."""
    found: list[Threat] = []
    for block in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        head, _, *lines = map(cells, block.splitlines())
        if head == HEAD:
            found += [Threat(*line) for line in lines]
    return found


@cache
def functions(path: Path) -> frozenset[str]:
    made = ast.parse(path.read_text()).body
    return frozenset(
        node.name for node in made if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def check(threat: Threat) -> None:
    assert all(threat), "has an empty cell"
    named: Sequence[tuple[str, str]] = re.findall(r"`([\w/]+\.py)::(test_\w+)`", threat.test)
    assert named, "names no test"
    for file, function in named:
        assert (ROOT / file).is_file(), f"there is no {file}"
        assert function in functions(ROOT / file), f"there is no {function} in {file}"


THREATS = threats_of(PAGE.read_text())


@pytest.mark.parametrize("threat", THREATS, ids=[f"{one.who}: {one.tries}" for one in THREATS])
def test_a_threat_is_met_by_a_test(threat: Threat):
    check(threat)


def test_no_table_of_threats_is_passed_over():
    page = PAGE.read_text()
    assert page.count(f"| {' | '.join(HEAD)} |") == len(re.findall(r"\| test \|$", page, re.M)) >= 4
    assert len(THREATS) >= 40


@pytest.mark.parametrize(
    ("test", "complaint"),
    [
        ("none", "names no test"),
        ("`tests/no.py::test_x`", "there is no tests/no.py"),
        ("`tests/test_security.py::test_x`", "there is no test_x"),
    ],
)
def test_what_the_page_has_wrong_is_found(test: str, complaint: str):
    with pytest.raises(AssertionError, match=complaint):
        check(Threat("who", "tries", "defence", test))
