"""Bars and waiting lines: after a while, on a terminal, and nowhere else."""

import asyncio
import io
import sys

import pytest

from app.commands import crew, progress
from app.commands.crew import Crew, Stage
from app.commands.progress import Bar, bar_text
from app.commands.terminal import Printer
from tests.commands.screen import terminal
from tests.wait import wait_until


def shown_of(*, quiet: bool = False) -> str:
    with terminal() as screen, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", screen.stream)
        with Bar("counting sheep", quiet=quiet) as bar:
            bar.show(3, 7, "in all")
        return screen.read()


def test_a_bar_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SHOWN_AFTER_S", 0.0)
    shown = shown_of()
    assert "counting sheep" in shown
    assert "3/7" in shown
    assert "in all" in shown


def test_what_is_done_at_once_shows_none() -> None:
    assert shown_of() == ""


def test_a_program_that_reads_along_sees_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SHOWN_AFTER_S", 0.0)
    assert shown_of(quiet=True) == ""
    with Bar("counting sheep") as bar:
        bar.show(3, 7)
    assert capsys.readouterr().err == ""


def test_a_bar_in_one_line_of_text() -> None:
    assert bar_text(0, 4) == "░" * 20 + " 0/4"
    assert bar_text(2, 4) == "█" * 10 + "░" * 10 + " 2/4"
    assert bar_text(0, 0) == "░" * 20 + " 0/0"


class Slow:
    """A member of a crew that is ready when the test says so."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready = asyncio.Event()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        await self._ended.wait()

    async def stop(self, grace_s: float) -> None:
        self._ended.set()

    def kill(self) -> None:
        self._ended.set()


async def test_a_start_that_takes_its_time_says_for_whom_it_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crew, "SHOWN_AFTER_S", 0.0)
    monkeypatch.setattr(crew, "_SHOW_EVERY_S", 0.01)
    api, gateway = Slow("api"), Slow("gateway")
    asked, announced = asyncio.Event(), asyncio.Event()
    waits: list[tuple[int, int, list[str]]] = []

    async def note(ready: int, total: int, others: list[str]) -> None:
        waits.append((ready, total, list(others)))

    async def announce() -> None:
        announced.set()

    async def report(message: str, /, **fields: float) -> None:
        raise AssertionError(message)

    stages = [Stage([api], 1), Stage([gateway], 1)]
    running = asyncio.create_task(
        Crew(stages, report, note).run(asked, asyncio.Event(), announce)  # type: ignore[arg-type]
    )
    await wait_until(lambda: (0, 2, ["api", "gateway"]) in waits)
    api.ready.set()
    await wait_until(lambda: waits[-1] == (1, 2, ["gateway"]))
    assert not announced.is_set()
    gateway.ready.set()
    await wait_until(announced.is_set)
    assert waits[-1] == (2, 2, [])
    asked.set()
    await running


async def test_the_line_that_says_so_stays_below_the_others_and_goes() -> None:
    with terminal() as screen:
        printer = Printer(screen.stream, as_json=False)
        await printer.status("starting 1/2")
        await printer.print("api", ["hello"])
        shown = screen.read()
        assert shown.endswith("hello\nstarting 1/2")
        assert shown.count("\r\x1b[K") == 2
        await printer.status("")
        await printer.print("api", ["ready"])
        assert screen.read().endswith("\r\x1b[K\x1b[36mapi      \x1b[0m | ready\n")
        await printer.status("x" * 500)
        assert len(screen.read()) < 500


async def test_no_such_line_is_written_to_a_pipe_or_among_json() -> None:
    out = io.StringIO()
    await Printer(out, as_json=False).status("starting 1/2")
    assert out.getvalue() == ""
    with terminal() as screen:
        await Printer(screen.stream, as_json=True).status("starting 1/2")
        assert screen.read() == ""
