"""What a command says: coloured on a terminal, plain elsewhere."""

import asyncio
import json
import logging
import shutil
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TextIO

from rich.console import Console
from rich.text import Text

from app.log import JsonLines, TextLines, mask, wants_colour

_ERASE_LINE = "\r\x1b[K"
_COLOURS = ("36", "35", "34", "33", "32", "96", "95", "94")


def console(stream: TextIO) -> Console:
    """Prints `Text` without wrapping, guessing at links or reading markup."""
    return Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)


def plain(value: object) -> str:
    """One line that cannot steer a terminal: what comes from outside may hold anything."""
    text = "" if value is None else str(value)
    return "".join(char if char.isprintable() else " " for char in text)


def say(text: str | Text) -> None:
    """A result, to standard output."""
    console(sys.stdout).print(text)


def note(text: str | Text) -> None:
    """Something beside the result, to standard error."""
    console(sys.stderr).print(text)


def complain(message: str) -> None:
    """The one line (or few) that say what went wrong and what to do, without secrets."""
    note(Text.assemble(("moments: ", "bold red"), mask(message)))


class Printer:
    """Prints lines of several roles to one stream, each with its role in front.

    Writing happens in a thread of its own: a terminal that is held up must not hold up the loop
    that has to hear signals. A caller waits until its lines are out. Where lines are JSON they stay
    as they are (the role is in them), and one that is none is wrapped into a JSON line. When nobody
    reads the stream any more, `on_unread` is called once and later lines are dropped.
    """

    def __init__(
        self, stream: TextIO, *, as_json: bool, on_unread: Callable[[], None] = lambda: None
    ) -> None:
        self._unread = False
        self._on_unread = on_unread
        self._stream = stream
        self._as_json = as_json
        self._colour = wants_colour(stream) and not as_json
        self._own = "up"
        self._has_status = stream.isatty() and not as_json
        self._status = ""
        self._format = JsonLines(self._own) if as_json else TextLines(colour=self._colour)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="printer")
        self._colour_of: dict[str, str] = {}

    async def print(self, role: str, lines: list[str]) -> None:
        await self._out(lambda: self._write("".join(self._line(role, line) for line in lines)))

    async def status(self, text: str) -> None:
        """A line that stays below all others, where the stream is a terminal; "" takes it away."""
        if self._has_status and text != self._status:
            await self._out(lambda: self._replace(text))

    async def _out(self, write: Callable[[], None]) -> None:
        if self._unread:
            return
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, write)
        except OSError:
            self._unread = True
            self._on_unread()

    async def report(self, message: str, /, **fields: float) -> None:
        """A line of `up` itself, in the format of the others."""
        record = logging.makeLogRecord(
            {"name": __name__, "levelname": "WARNING", "msg": message, **fields}
        )
        await self.print(self._own, [self._format.format(record)])

    def _replace(self, status: str) -> None:
        # What is wider than the terminal would stand in several lines, of which one is erased.
        self._status = status[: shutil.get_terminal_size().columns - 1]
        self._stream.write(_ERASE_LINE + self._status)
        self._stream.flush()

    def _write(self, text: str) -> None:
        if self._status:
            text = f"{_ERASE_LINE}{text}{self._status}"
        self._stream.write(text)
        self._stream.flush()

    def _line(self, role: str, line: str) -> str:
        if self._as_json:
            return (line if _is_object(line) else json.dumps({"role": role, "event": line})) + "\n"
        name = f"{role:<9}"
        if self._colour:
            code = self._colour_of.setdefault(role, _COLOURS[len(self._colour_of) % len(_COLOURS)])
            name = f"\x1b[{code}m{name}\x1b[0m"
        return f"{name} | {line}\n"


def _is_object(line: str) -> bool:
    if not line.startswith("{"):
        return False
    try:
        return isinstance(json.loads(line), Mapping)
    except ValueError:
        return False
