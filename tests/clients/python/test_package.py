"""The client as a package: it stands alone, and says what it needs."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import moments_client

CLIENT = Path(__file__).parents[3] / "clients" / "python"
SOURCES = sorted((CLIENT / "src").rglob("*.py"))
PROJECT = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]
FRAMEWORKS = {"starlette", "fastapi", "django", "flask", "werkzeug"}  # of whoever uses them


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", one)[0] for one in requirements}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_it_imports_what_it_asks_for_and_nothing_of_the_service():
    found = {name.partition(".")[0] for path in SOURCES for name in imports(path)}
    outside = found - sys.stdlib_module_names - {"moments_client"}
    assert outside - FRAMEWORKS == names(PROJECT["dependencies"])


@pytest.mark.parametrize("framework", sorted(FRAMEWORKS - {"werkzeug"}))
def test_a_framework_is_imported_by_its_own_module_alone(framework: str):
    using = {
        path.stem for path in SOURCES for name in imports(path) if name.split(".")[0] == framework
    }
    assert using <= {framework}


def test_without_extras_everything_but_webhooks_can_be_imported():
    modules = [
        ".".join(path.relative_to(CLIENT / "src").with_suffix("").parts)
        for path in SOURCES
        if path.parent.name != "webhooks" and path.stem != "__init__"
    ]
    blocked = ["msgpack", "standardwebhooks", "cryptography", *sorted(FRAMEWORKS)]
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))\n"
        f"for name in {modules!r}: __import__(name)\n"
        "from moments_client.webhooks import Receiver\n"
        "import moments_client\n"
        "try: moments_client.subscribe('ws://h', 't', encoding='msgpack')\n"
        "except ImportError as error: print(error)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(CLIENT / "src")},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ran.stderr == ""
    assert "pip install 'moments-client[msgpack]'" in ran.stdout


def test_it_says_that_it_is_typed_and_which_version_it_is():
    assert (CLIENT / "src" / "moments_client" / "py.typed").exists()
    assert PROJECT["version"] == moments_client.__version__
    assert PROJECT["requires-python"] == ">=3.11"


def test_every_module_says_what_it_owns():
    trees = {path: ast.parse(path.read_text()) for path in SOURCES}
    assert [path for path, tree in trees.items() if not ast.get_docstring(tree)] == []


def test_what_the_readme_asks_to_install_is_there():
    readme = (CLIENT / "README.md").read_text()
    extras = set(re.findall(r"clients/python\[(\w+)\]", readme))
    assert extras <= set(PROJECT["optional-dependencies"])
    for extra in PROJECT["optional-dependencies"]:
        assert f"`{extra}`" in readme or f"[{extra}]" in readme
