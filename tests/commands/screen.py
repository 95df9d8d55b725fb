"""A terminal of the test's own, as a stream for what is shown, and what was shown on it."""

import fcntl
import os
import pty
import struct
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

ROWS, COLUMNS = 24, 80


@dataclass(frozen=True, slots=True)
class Screen:
    stream: TextIO
    _master: int

    def read(self) -> str:
        """What was shown since this was asked the last time."""
        self.stream.flush()
        shown = b""
        while True:
            try:
                shown += os.read(self._master, 65_536)
            except BlockingIOError:
                return shown.decode()


@contextmanager
def terminal() -> Iterator[Screen]:
    master, slave = pty.openpty()
    tty.setraw(slave)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    os.set_blocking(master, False)
    try:
        with os.fdopen(slave, "w") as stream:
            yield Screen(stream, master)
    finally:
        os.close(master)
