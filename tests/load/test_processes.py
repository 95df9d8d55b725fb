"""What is read of processes, tried on real ones."""

import os
import subprocess
import sys
import time

import pytest

from scripts.load.processes import descendants, machine, usage

BURN = "import sys\nfor _ in range(3_000_000): pass\nprint('burnt', flush=True)\nsys.stdin.read()"


@pytest.fixture
def burner():
    with subprocess.Popen(
        [sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def test_cpu_and_memory_of_a_process_are_those_it_used(burner: "subprocess.Popen[str]"):
    assert burner.stdout is not None
    assert burner.stdout.readline() == "burnt\n"
    used = usage(burner.pid)
    assert used is not None
    assert 0.01 < used.cpu_s < 60
    assert used.rss_bytes > 1_000_000


def test_our_own_cpu_is_what_python_says():
    used = usage(os.getpid())
    assert used is not None
    assert used.cpu_s == pytest.approx(time.process_time(), abs=0.3)


def test_a_process_that_has_gone_uses_nothing(burner: "subprocess.Popen[str]"):
    burner.kill()
    burner.wait()
    assert usage(burner.pid) is None


def test_children_are_found_and_named(burner: "subprocess.Popen[str]"):
    found = descendants([os.getpid()])
    assert burner.pid in found.values()
    assert os.getpid() in found.values()
    assert len(set(found)) == len(found)


def test_what_does_not_run_is_not_found():
    assert descendants([2**22 + 1]) == {}


def test_the_machine_is_named():
    found = machine()
    assert found["cores"] == os.cpu_count()
    assert found["cpu"]
