"""Without a browser the tests that need one do not run, and whoever started them is told."""

import os
import subprocess
import sys
from pathlib import Path

from tests.browser.conftest import MISSING

ROOT = Path(__file__).parents[2]


def test_without_a_browser_the_last_lines_say_what_was_not_tried():
    without = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    without.pop("CHROMIUM", None)
    tests = "tests/browser/test_complaints.py"
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", tests],
        cwd=ROOT,
        env={**without, "PATH": "/nonexistent"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout
    *_, told, result = ran.stdout.strip().splitlines()
    assert told == f"6 tests in a browser did not run: {MISSING}"
    assert result.startswith("6 skipped")
