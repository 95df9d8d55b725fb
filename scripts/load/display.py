"""What is shown while it runs: a bar for each step and phase."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)


class Display:
    """`with Display(console) as display`. Off a terminal a line is printed for each step's end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description:<34}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @contextmanager
    def step(self, what: str, total: float = 1) -> Generator[Callable[[int], None]]:
        """Gives what advances the bar; it is full when the block ends well."""
        task = self._progress.add_task(what, total=total, note="")
        yield lambda count: self._progress.advance(task, count)
        self._finish(task, total)

    @contextmanager
    def phase(self, what: str, deliveries: int) -> Generator[Callable[[int, str], None]]:
        """Gives what sets the number of deliveries that have come, and a note beside it."""
        task = self._progress.add_task(what, total=deliveries, note="")
        yield lambda done, note: self._progress.update(task, completed=done, note=note)
        self._finish(task, None)

    def _finish(self, task: TaskID, total: float | None) -> None:
        if total is not None:
            self._progress.update(task, completed=total)
        self._progress.stop_task(task)
        shown = next(one for one in self._progress.tasks if one.id == task)
        if not self._console.is_terminal:
            took_s = shown.finished_time or shown.elapsed or 0.0
            counted = f"{int(shown.completed):,} of {int(shown.total or 0):,}"
            note = f"  {shown.fields['note']}" if shown.fields["note"] else ""
            self._console.print(f"{shown.description:<34} {counted} in {took_s:.1f} s{note}")

    def say(self, words: str) -> None:
        self._console.print(words)
