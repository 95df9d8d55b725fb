"""The whole command, for five seconds: everything that is owed comes, is counted, and is over."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = (
    *(sys.executable, "scripts/load_test.py", "steady", "--seconds", "5", "--warm-up", "0.5"),
    *("--rate", "200", "--people", "60"),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """What it printed, where its report is, and where it had its store and logs."""
    directory = tmp_path_factory.mktemp("load")
    temporary = directory / "t"
    temporary.mkdir()
    ended = subprocess.run(
        [*COMMAND, "--out", str(directory / "report")],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr + ended.stdout
    assert ended.stderr == ""
    return ended.stdout, directory / "report", temporary


@pytest.fixture
def report(run: tuple[str, Path, Path]) -> dict[str, Any]:
    return json.loads((run[1] / "report.json").read_text())


def test_everything_owed_has_come(report: dict[str, Any]):
    phase = report["phases"][-1]
    assert phase["measured"]
    assert phase["accepted"] == phase["posts"] > 0
    counts = {row["group"]: row for row in phase["latencies"]}
    for group in ("healthy", "relay", "socket"):
        assert counts[group]["missing"] == 0
        assert counts[group]["count"] > 0
    assert counts["accepted"]["count"] == phase["posts"]
    assert report["incidents"] == []
    assert report["sockets"]["open"] == 6
    assert report["sockets"]["out_of_order"] == 0
    assert report["sockets"]["others"] == {}


def test_cpu_memory_and_queues_of_every_process_are_told(report: dict[str, Any]):
    processes = {"store", "api", "gateway-1", "worker-1"}
    assert set(report["phases"][-1]["cpu_us"]) == processes
    row = report["timeline"][-1]
    assert set(row["memory_mb"]) == processes
    assert all(megabytes > 1 for megabytes in row["memory_mb"].values())
    assert set(row["queues"]) == {"posts", "deliveries", "redeliveries", "retries", "dead"}
    assert set(row["load_processes"]) == {"poster", "receivers", "sockets"}
    assert sum(row["webhooks_per_s"] for row in report["timeline"]) > 0
    assert sum(row["frames_per_s"] for row in report["timeline"]) > 0


def test_what_is_needed_to_run_it_again_is_told(report: dict[str, Any]):
    assert report["command"].startswith("python scripts/load_test.py steady --seconds 5")
    assert report["machine"]["cores"] == os.cpu_count()
    assert report["workload"]["scaled_down"] is True
    assert report["workload"]["people"] == 60


def test_the_page_has_its_charts_and_needs_nothing_from_elsewhere(
    run: tuple[str, Path, Path],
):
    page = (run[1] / "report.html").read_text()
    titles = re.findall(r"<figcaption>([^<]*)", page)
    assert {"Latency to webhooks ", "Latency to sockets ", "Throughput ", "Memory "} <= set(titles)
    assert not re.findall(r"(?:src|href)\s*=|@import|url\(|https?://(?!127\.)", page)


def test_the_tables_are_printed(run: tuple[str, Path, Path]):
    printed = run[0]
    for title in ("From due to received (ms)", "CPU of a delivery (µs)", "Findings"):
        assert title in printed
    assert "fewer than 10,000 people" in printed


def test_nothing_is_left(run: tuple[str, Path, Path]):
    """No store, no logs, and no process that knows of them."""
    assert not list(run[2].iterdir())
    place = str(run[2]).encode()
    left = [
        file.parent.name
        for file in Path("/proc").glob("[0-9]*/cmdline")
        if place in file.read_bytes()
    ]
    assert left == []
