"""What the system tells of processes: CPU time and memory, from /proc."""

import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGESIZE")


class Usage(NamedTuple):
    """`cpu_s`: user and system time of all its threads since its start. `kept_waiting_s`: how long
    its first thread could have run, and others did; 0 where the system does not tell."""

    cpu_s: float
    rss_bytes: int
    kept_waiting_s: float = 0.0


def usage(pid: int) -> Usage | None:
    """None when there is no such process any more."""
    try:
        fields = _stat(pid)
        resident = (_PROC / str(pid) / "statm").read_text().split()[1]
        waited_s = _kept_waiting_s(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    # 14 and 15 in proc(5), counted from 1; `_stat` leaves out the first two.
    cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return Usage(cpu_s, int(resident) * _PAGE_BYTES, waited_s)


def _kept_waiting_s(pid: int) -> float:
    """The second field of schedstat, in nanoseconds; a kernel may be made without it."""
    path = _PROC / str(pid) / "schedstat"
    return int(path.read_text().split()[1]) / 1e9 if path.exists() else 0.0


def _stat(pid: int) -> list[str]:
    """The fields from the state on: the name before it may hold anything."""
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def descendants(roots: Sequence[int]) -> dict[str, int]:
    """These processes and all their children, by names that tell them apart."""
    parents: dict[int, int] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    found = [pid for pid in roots if pid in parents]
    for pid in found:  # grows as it goes
        found += [child for child, parent in parents.items() if parent == pid]
    names: dict[str, int] = {}
    seen: Counter[str] = Counter()
    for pid in dict.fromkeys(found):
        name = _name(pid)
        seen[name] += 1
        names[f"{name}-{seen[name]}" if seen[name] > 1 else name] = pid
    return names


def _name(pid: int) -> str:
    """`store`, or the command that `moments` was started with."""
    words = (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    if any("valkey-server" in word or "redis-server" in word for word in words[:1]):
        return "store"
    for before, word in pairwise(words):
        if before == "app.cli" or before.endswith("/moments"):
            return word
    return Path(words[0]).name or str(pid)


def machine() -> Mapping[str, object]:
    """What a figure has to be read beside."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in (_PROC / "cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
