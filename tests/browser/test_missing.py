"""Without a browser the tests that need one do not run, and whoever started them is told."""

import io

import pytest

from tests.browser.windows import MISSING, find_chromium
from tests.conftest import pytest_terminal_summary


def skipped(test: str, reason: str) -> pytest.TestReport:
    longrepr = (test, 1, f"Skipped: {reason}")
    return pytest.TestReport(test, (test, 1, test), {}, "skipped", longrepr, "setup")


def test_without_a_browser_a_test_is_skipped(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(pytest.skip.Exception, match="chromium is missing"):
        find_chromium()


def test_the_last_lines_say_which_were_not_tried(pytestconfig: pytest.Config):
    out = io.StringIO()
    reporter = pytest.TerminalReporter(pytestconfig, out)
    pytest_terminal_summary(reporter)
    assert out.getvalue() == ""
    reporter.stats["skipped"] = [
        skipped("tests/browser/test_console.py::test_one", MISSING),
        skipped("tests/test_other.py::test_other", "for another reason"),
        skipped("tests/browser/test_moments.py::test_two", MISSING),
    ]
    pytest_terminal_summary(reporter)
    assert out.getvalue() == f"2 tests in a browser did not run: {MISSING}\n"
