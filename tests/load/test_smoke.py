"""The whole command, on a service of its own for five seconds, and on one that runs already."""

import asyncio
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.load.service import OwnService

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "scripts/load_test.py", "steady", "--rate", "200", "--people", "60")
PATIENCE_S = 90.0
pytestmark = pytest.mark.timeout(150)  # seconds of load, and what a busy machine adds


@dataclass(frozen=True, slots=True)
class Run:
    """What one run has left: what it printed, its report, and where it had its store and logs."""

    printed: str
    report: Path
    temporary: Path

    @property
    def figures(self) -> dict[str, Any]:
        return json.loads((self.report / "report.json").read_text())


async def test_a_service_of_its_own_is_loaded_and_reported_on(tmp_path: Path):
    run = await load(tmp_path, ["--seconds", "5", "--warm-up", "0.5"])
    everything_owed_has_come(run.figures)
    every_process_is_told_of(run.figures)
    what_is_needed_to_run_it_again_is_told(run.figures)
    the_page_has_its_charts_and_needs_nothing_from_elsewhere(run)
    the_tables_are_printed(run)
    nothing_is_left(run)


async def test_a_service_that_runs_already_is_loaded_and_left_in_order(tmp_path: Path):
    directory = tmp_path / "service"
    directory.mkdir()
    async with OwnService(directory, {"lease_s": "5"}, gateways=2) as service:
        await service.start("worker-1")
        where = ["--url", service.api, "--seconds", "1.5", "--warm-up", "0"]
        where += ["--pid", str(service.pids()["worker-1"])]
        for gateway in service.gateways:
            where += ["--gateway-url", gateway]
        run = await load(tmp_path, where, MOMENTS_ADMIN_KEY=service.key)
        assert service.incidents == []
    everything_owed_has_come(run.figures)
    assert set(run.figures["timeline"][-1]["memory_mb"]) == {"worker"}
    assert "remove endpoints                   54 of 54" in run.printed


async def load(directory: Path, arguments: Sequence[str], **environment: str) -> Run:
    temporary, report = directory / "t", directory / "report"
    temporary.mkdir(parents=True)
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, *arguments, "--out", str(report)),
        cwd=ROOT,
        env={**os.environ, **environment, "TMPDIR": str(temporary)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            printed, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    assert (process.returncode, complaints.decode()) == (0, "")
    return Run(printed.decode(), report, temporary)


def everything_owed_has_come(report: dict[str, Any]):
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


def every_process_is_told_of(report: dict[str, Any]):
    processes = {"store", "api", "gateway-1", "worker-1"}
    assert set(report["phases"][-1]["cpu_us"]) == processes
    row = report["timeline"][-1]
    assert set(row["memory_mb"]) == processes
    assert all(megabytes > 1 for megabytes in row["memory_mb"].values())
    assert set(row["queues"]) == {"posts", "deliveries", "redeliveries", "retries", "dead"}
    assert set(row["load_processes"]) == {"poster", "receivers", "sockets"}
    assert report["phases"][-1]["attempts"]["ok"] > 0
    assert sum(row["webhooks_per_s"] for row in report["timeline"]) > 0
    assert sum(row["frames_per_s"] for row in report["timeline"]) > 0


def what_is_needed_to_run_it_again_is_told(report: dict[str, Any]):
    assert report["command"].startswith("python scripts/load_test.py steady --rate 200")
    assert report["machine"]["cores"] == os.cpu_count()
    assert report["workload"]["scaled_down"] is True
    assert report["workload"]["people"] == 60


def the_page_has_its_charts_and_needs_nothing_from_elsewhere(run: Run):
    page = (run.report / "report.html").read_text()
    titles = re.findall(r"<figcaption>([^<]*)", page)
    assert {"Latency to webhooks ", "Latency to sockets ", "Throughput ", "Memory "} <= set(titles)
    assert not re.findall(r"(?:src|href)\s*=|@import|url\(|https?://(?!127\.)", page)


def the_tables_are_printed(run: Run):
    for title in ("From due to received (ms)", "CPU of a delivery (µs)", "Findings"):
        assert title in run.printed
    assert "fewer than 10,000 people" in run.printed


def nothing_is_left(run: Run):
    """No store, no logs, and no process that knows of them."""
    assert not list(run.temporary.glob("moments-load-*"))
    place = str(run.temporary).encode()
    left = [
        file.parent.name
        for file in Path("/proc").glob("[0-9]*/cmdline")
        if place in file.read_bytes()
    ]
    assert left == []
