"""Asks the package index about known vulnerabilities of what the lock installs.

    python -m scripts.audit [requirements.lock …]

Fails when there is one (exit code 1), or when pip-audit itself does not work (2). When the index
cannot be reached, answers too slowly or knows nothing of a version, that is said and no failure:
a build must not depend on a service outside. The work is pip-audit's, with the advisories of PyPI.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SECONDS = 30.0
_CLEAN, _FOUND, _BROKEN = 0, 1, 2

# What pip-audit ends with when it could not ask, and what it says when it gave wrong input.
_AWAY = (
    "ConnectionError",
    "ConnectTimeout",
    "ReadTimeout",
    "ServiceError",
    "Could not connect",
    "ProxyError",
    "Max retries exceeded",
    "timed out",
)


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found: `vulnerable` in words, and how many packages the index told of or not."""

    vulnerable: tuple[str, ...]
    asked: int
    unknown: int


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.audit", description=__doc__)
    parser.add_argument("locks", nargs="*", default=["requirements.lock"])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all of it")
    options = parser.parse_args(arguments)
    try:
        done = subprocess.run(
            _command(options.locks), capture_output=True, text=True, timeout=options.seconds
        )
    except subprocess.TimeoutExpired:
        return _not_audited(f"the package index did not answer within {options.seconds:g} s")
    try:
        audit = read(json.loads(done.stdout))
    except (ValueError, KeyError, TypeError):
        return _without_report(done)
    return tell(audit)


def read(report: Any) -> Audit:
    """The JSON report of pip-audit. Raises KeyError or TypeError when it is none."""
    vulnerable: list[str] = []
    asked = unknown = 0
    for package in report["dependencies"]:
        if "skip_reason" in package:
            unknown += 1
            continue
        asked += 1
        vulnerable += [_words(package, one) for one in package["vulns"]]
    return Audit(tuple(vulnerable), asked, unknown)


def _words(package: Any, vulnerability: Any) -> str:
    names = ", ".join([vulnerability["id"], *vulnerability["aliases"]])
    cured = ", ".join(vulnerability["fix_versions"]) or "no release"
    return f"{package['name']} {package['version']}: {names}; cured in {cured}"


def _command(locks: Sequence[str]) -> list[str]:
    files = [word for lock in locks for word in ("--requirement", lock)]
    asked = ["--vulnerability-service", "pypi", "--format", "json", "--progress-spinner", "off"]
    # The lock is whole, so nothing has to be resolved, and nothing is installed.
    whole = ["--disable-pip", "--require-hashes", "--timeout", "10"]
    return [sys.executable, "-m", "pip_audit", *asked, *whole, *files]


def tell(audit: Audit) -> int:
    """Prints what was found; returns the exit code."""
    if audit.vulnerable:
        print("known vulnerabilities in what is installed:", *audit.vulnerable, sep="\n  ")
        print("raise these (make lock UPGRADE=1), or say in docs/security.md why they stay")
        return _FOUND
    if not audit.asked:
        return _not_audited(f"the index tells nothing of these {audit.unknown} versions")
    rest = f"; it tells nothing of {audit.unknown} others" if audit.unknown else ""
    print(f"no known vulnerability in {audit.asked} packages{rest}")
    return _CLEAN


def _without_report(done: "subprocess.CompletedProcess[str]") -> int:
    if any(sign in done.stderr for sign in _AWAY):
        return _not_audited("the package index cannot be reached")
    print(f"pip-audit does not work:\n{done.stdout}{done.stderr}", file=sys.stderr)
    return _BROKEN


def _not_audited(why: str) -> int:
    print(f"NOT AUDITED for known vulnerabilities: {why}")
    return _CLEAN


if __name__ == "__main__":
    sys.exit(main())
