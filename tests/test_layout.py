"""What holds the project together: its lock, its commands, the shape of its source."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
SOURCES = [path for folder in ("app", "workers") for path in sorted((ROOT / folder).rglob("*.py"))]
EVERYTHING = "requirements.lock"
RUNTIME = "requirements-runtime.lock"

# What such a file holds is found by nobody.
VAGUE_NAMES = {"utils", "util", "helpers", "common", "manager", "base", "misc"}


@cache
def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def requirements(*extras: str) -> list[Requirement]:
    described = project()["project"]
    wanted = [*described["dependencies"]]
    for extra in extras:
        wanted += described["optional-dependencies"][extra]
    return [Requirement(text) for text in wanted]


@cache
def lock(name: str) -> dict[str, tuple[Requirement, frozenset[str]]]:
    """Package → its pin and the hashes of its files."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    locked = {}
    for line in text.splitlines():
        if line and not line.startswith((" ", "#")):
            pin, *hashes = re.split(r"\s+--hash=", line.strip())
            requirement = Requirement(pin)
            locked[canonicalize_name(requirement.name)] = requirement, frozenset(hashes)
    return locked


def unlocked(wanted: Iterable[Requirement], name: str) -> list[str]:
    """The requirements that the lock does not meet."""
    return [str(one) for one in wanted if not _is_met(one, name)]


def _is_met(wanted: Requirement, name: str) -> bool:
    pin, _ = lock(name).get(canonicalize_name(wanted.name), (None, None))
    if pin is None:
        return False
    [version] = [one.version for one in pin.specifier]
    return wanted.specifier.contains(version, prereleases=True)


def test_the_lock_meets_what_pyproject_asks_for() -> None:
    """If not: `make lock`."""
    assert unlocked(requirements("dev", "build", "tracing"), EVERYTHING) == []
    assert unlocked(requirements("build", "tracing"), RUNTIME) == []


def test_the_build_backend_is_in_the_lock() -> None:
    backend = [Requirement(text) for text in project()["build-system"]["requires"]]
    assert unlocked(backend, RUNTIME) == []


@pytest.mark.parametrize("name", [EVERYTHING, RUNTIME])
def test_every_package_is_locked_to_one_version_and_its_files(name: str) -> None:
    assert len(lock(name)) > 20
    for package, (pin, hashes) in lock(name).items():
        assert [one.operator for one in pin.specifier] == ["=="], package
        assert hashes, package
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), package


def test_what_runs_in_the_image_is_what_was_tested() -> None:
    for package, locked in lock(RUNTIME).items():
        assert lock(EVERYTHING)[package] == locked


def test_the_lock_holds_for_the_first_release_of_python_3_11_too() -> None:
    """Debian 12 has 3.11.2, for which valkey asks for a package that later ones do without."""
    pin, _ = lock(RUNTIME)["async-timeout"]
    assert pin.marker is not None
    assert pin.marker.evaluate({"python_full_version": "3.11.2"})
    assert not pin.marker.evaluate({"python_full_version": "3.11.3"})


def test_the_lock_tells_how_to_renew_it() -> None:
    for name in (EVERYTHING, RUNTIME):
        assert "make lock" in "".join((ROOT / name).read_text().splitlines()[:2])


def test_the_image_has_every_package_that_the_source_imports() -> None:
    known, lacking = packages_distributions(), set()
    for module in imported_from_outside():
        packages = {canonicalize_name(one) for one in known.get(module, [module])}
        if not packages & set(lock(RUNTIME)):
            lacking.add(module)
    assert lacking == set()


def imported_from_outside() -> set[str]:
    ours = {"app", "workers"} | sys.stdlib_module_names
    return {name for path in SOURCES for name in _imports(path)} - ours


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_every_module_says_what_it_owns() -> None:
    assert [
        str(path) for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text()))
    ] == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [str(path) for path in SOURCES if path.stem in VAGUE_NAMES] == []


def test_make_names_every_command_that_it_has() -> None:
    phony = re.findall(r"^\.PHONY: (\w.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    targets = {target for line in phony for target in line.split()}
    told = subprocess.run(["make", "-s", "-C", ROOT], capture_output=True, text=True, check=True)
    assert {"setup", "demo", "test", "check", "lock", "clean"} <= targets
    assert targets - {"help"} == set(re.findall(r"^make ([\w-]+)", told.stdout, re.MULTILINE))


def test_make_says_what_to_do_without_a_python_that_fits(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", EVERYTHING):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    old = tmp_path / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    made = subprocess.run(
        ["make", "-C", tmp_path, "setup", f"PYTHON={old}"], capture_output=True, text=True
    )
    assert made.returncode != 0
    assert "No Python 3.11 or newer" in made.stderr
    assert not (tmp_path / ".venv").exists()


def test_ci_can_be_started_and_runs_the_tests() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)
    assert "set -euo pipefail" in script.read_text()
    assert script.read_text().rstrip().endswith("exec make test </dev/null")
