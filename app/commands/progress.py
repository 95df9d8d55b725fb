"""How far something is that takes longer than a glance: a bar on a terminal, nothing elsewhere."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

SHOWN_AFTER_S = 2.0
BAR_WIDTH = 20


class Bar:
    """`with Bar("sealing") as bar: bar.show(done, total, "…")`.

    It appears on standard error after `SHOWN_AFTER_S` and is gone at the end. Nothing is shown to a
    pipe, or when `quiet` (a program reads along).
    """

    def __init__(self, what: str, *, quiet: bool = False) -> None:
        self._what = what
        self._console = Console(file=sys.stderr)
        self._is_wanted = self._console.is_terminal and not quiet
        self._began = time.monotonic()
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def show(self, done: int, total: int, text: str = "") -> None:
        """`done` of `total`, and what else there is to say."""
        if not self._is_wanted or time.monotonic() - self._began < SHOWN_AFTER_S:
            return
        if self._progress is None:
            self._progress = _progress(self._console)
            self._task = self._progress.add_task(self._what, text=text)
            self._progress.start()
        assert self._task is not None
        self._progress.update(self._task, completed=done, total=total, text=text)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()


def _progress(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(BAR_WIDTH),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
    )
    return Progress(*columns, console=console, transient=True)


def bar_text(done: int, total: int) -> str:
    """The same in one line of text, for a screen that somebody else writes on too."""
    filled = BAR_WIDTH * done // max(total, 1)
    return f"{'█' * filled}{'░' * (BAR_WIDTH - filled)} {done}/{total}"
