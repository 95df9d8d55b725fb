"""CPU time of a process and what it has started."""

import os
import subprocess
import sys

import pytest

from app.errors import CommandFailed
from scripts.bench.process_tree import trees_cpu_s

BURN = "import time\nwhile time.process_time() < 0.2: pass\n"
PARENT = (
    "import subprocess, sys\n"
    f"subprocess.run([sys.executable, '-c', {BURN!r}], check=True)\n"
    "print('done', flush=True)\n"
    "sys.stdin.read()\n"
)


def test_what_a_child_has_used_counts_after_its_end():
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdin is not None
        assert parent.stdout.readline() == b"done\n"
        used_s = trees_cpu_s({"parent": parent.pid})["parent"]
        parent.stdin.close()
    assert used_s > 0.19


def test_a_process_that_is_gone_is_no_figure():
    with subprocess.Popen(["true"]) as process:
        pass
    with pytest.raises(CommandFailed, match="has ended by itself"):
        trees_cpu_s({"gone": process.pid})


def test_processes_are_told_apart_by_name():
    assert trees_cpu_s({"this": os.getpid()})["this"] > 0
