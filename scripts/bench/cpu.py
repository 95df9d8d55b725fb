"""CPU time of processes, from /proc: of all their threads, user and system, in seconds."""

from collections.abc import Iterable
from pathlib import Path

from scripts.load.processes import usage


def cpu_s(pids: Iterable[int]) -> float:
    """Of processes that run, in nanoseconds where the system counts them (schedstat), else in
    hundredths. A thread that has ended takes its share along. Raises FileNotFoundError for a
    process that is gone."""
    return sum(_cpu_s(pid) for pid in pids)


def _cpu_s(pid: int) -> float:
    used_ns = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            used_ns += int((thread / "schedstat").read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            if not (Path("/proc") / str(pid) / "schedstat").exists():
                return _in_ticks(pid)
    return used_ns / 1e9


def _in_ticks(pid: int) -> float:
    used = usage(pid)
    if used is None:
        raise FileNotFoundError(f"there is no process {pid}")
    return used.cpu_s


def rss_bytes(pids: Iterable[int]) -> int:
    """Raises FileNotFoundError for a process that is gone."""
    total = 0
    for pid in pids:
        used = usage(pid)
        if used is None:
            raise FileNotFoundError(f"there is no process {pid}")
        total += used.rss_bytes
    return total
