"""On which cores processes run."""

import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def on_one_core(pids: Iterable[int]) -> Generator[None]:
    """All threads of these processes on the first core that is ours, then on all of ours again."""
    ours = os.sched_getaffinity(0)
    threads = [int(task.name) for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    _keep(threads, {min(ours)})
    try:
        yield
    finally:
        _keep(threads, ours)


def _keep(threads: Iterable[int], cores: set[int]) -> None:
    for thread in threads:
        try:
            os.sched_setaffinity(thread, cores)
        except ProcessLookupError:
            continue  # it has ended meanwhile
