"""Processes of peers: told what to do, ended, and said to be missing."""

import sys
from pathlib import Path

import pytest

from app.errors import CommandFailed
from scripts.bench.peer_process import PeerProcess, why_missing
from tests.wait import wait_until

ECHO = (
    "import json, sys\nfor line in sys.stdin: print(json.dumps({**json.loads(line), 'is': 'done'}))"
)


async def test_an_order_is_answered(tmp_path: Path):
    async with PeerProcess("echo", (sys.executable, "-uc", ECHO), tmp_path) as echo:
        assert await echo.ask(what="post") == {"what": "post", "is": "done"}


async def test_one_that_has_failed_says_why(tmp_path: Path):
    async with PeerProcess("bad", (sys.executable, "-c", "import nothing"), tmp_path) as bad:
        with pytest.raises(CommandFailed, match=r"(?s)bad does not answer.*ModuleNotFoundError"):
            await bad.ask(what="post")


async def test_what_it_has_started_ends_with_it(tmp_path: Path):
    """Here the child holds the pipe as long as it lives."""
    ignores = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    starts = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {ignores!r}])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    async with PeerProcess("parent", (sys.executable, "-c", starts), tmp_path) as parent:
        child = int(await parent.ask())
        assert lives(child)
    await wait_until(lambda: not lives(child))


def lives(pid: int) -> bool:
    """One that nobody has waited for yet does not."""
    try:
        return b") Z" not in Path(f"/proc/{pid}/stat").read_bytes()
    except FileNotFoundError:
        return False


def test_one_that_is_not_installed_comes_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("scripts.bench.peer_process.VENV", tmp_path / "nowhere")
    missing = why_missing("celery")
    assert missing is not None
    assert missing == "make bench-peers"
