"""What is installed: a wheel has all that the pages are made of, also what they only link to."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BUILD = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built from what the Dockerfile copies, so that the image has the same."""
    source = tmp_path_factory.mktemp("source")
    copied = [
        line.split()[1]
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
    ]
    for name in [*copied, "pyproject.toml", "README.md"]:
        to = source / name
        to.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, to, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, to)
    made = subprocess.run(
        [sys.executable, "-c", BUILD], cwd=source, capture_output=True, text=True, check=True
    )
    return zipfile.ZipFile(source / "dist" / made.stdout.splitlines()[-1])


@pytest.mark.parametrize("folder", ["app/console", "app/store/scripts"])
def test_a_wheel_has_every_page_and_script(wheel: zipfile.ZipFile, folder: str):
    files = [
        path
        for path in sorted((ROOT / folder).rglob("*"))
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert files
    for path in files:
        assert wheel.read(str(path.relative_to(ROOT))) == path.read_bytes()


def test_the_pages_have_the_client_that_everybody_gets(wheel: zipfile.ZipFile):
    client = (ROOT / "clients" / "js" / "moments.js").read_bytes()
    assert wheel.read("app/console/static/moments-client.js") == client
