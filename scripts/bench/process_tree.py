"""CPU time of processes together with all that they have started, seen from outside, in seconds."""

import os
from collections.abc import Mapping
from pathlib import Path

from app.errors import CommandFailed
from scripts.bench.cpu import cpu_s
from scripts.load.processes import descendants, usage

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def trees_cpu_s(roots: Mapping[str, int]) -> dict[str, float]:
    """By the name of each root, since it began. What its children used counts after their end too,
    such as the child with which a store rewrites its log. Raises CommandFailed when a root is
    gone."""
    return {name: _root_cpu_s(name, pid) for name, pid in roots.items()}


def _root_cpu_s(name: str, pid: int) -> float:
    try:
        return _tree_cpu_s(pid)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise CommandFailed(f"{name} has ended by itself, process {pid}") from error


def _tree_cpu_s(root: int) -> float:
    used_s = _with_ended_s(root)
    for pid in descendants([root]).values():
        if pid != root:
            try:
                used_s += _with_ended_s(pid)
            except (FileNotFoundError, ProcessLookupError):
                continue  # ended just now: its parent has its share, or soon will
    return used_s


def _with_ended_s(pid: int) -> float:
    """Live threads are told in nanoseconds, ended ones only in the hundredths of the whole."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    whole = usage(pid)
    # 16 and 17 in proc(5), counted from 1, are of children that have ended and were waited for;
    # what is split here begins with field 3.
    ended_s = (int(fields[13]) + int(fields[14])) / _TICKS_PER_S
    return max(cpu_s([pid]), whole.cpu_s if whole else 0.0) + ended_s
