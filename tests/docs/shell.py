"""The terminals that the documents speak of."""

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.docs.blocks import ROOT
from tests.store_servers import free_ports
from tests.wait import block_until

START_S = 30.0
RUN_S = 30.0
OUTPUT_S = 10.0

# What a terminal prints once it can be used.
READY = ("is ready", "listening on", '"hello"')
# What the documents call by its usual number, which may be in use here.
_PORTS = {
    "8000": "MOMENTS_PORT",
    "8001": "MOMENTS_GATEWAY_PORT",
    "9000": "RECEIVER_PORT",
    "9001": "OTHER_RECEIVER_PORT",
}


def environment() -> dict[str, str]:
    """This project's commands first, ports that are free, and no setting from outside."""
    inherited = {name: value for name, value in os.environ.items() if "MOMENTS" not in name}
    ports = dict(zip(_PORTS.values(), map(str, free_ports(len(_PORTS))), strict=True))
    path = f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"
    return {**inherited, **ports, "PATH": path, "PYTHONUNBUFFERED": "1"}


def with_ports(text: str, env: Mapping[str, str]) -> str:
    return re.sub(rf"\b({'|'.join(_PORTS)})\b", lambda found: env[_PORTS[found[1]]], text)


class Terminal:
    """A shell that runs something, and what it has printed."""

    def __init__(
        self,
        text: str,
        directory: Path,
        env: Mapping[str, str],
        name: str,
        at: Path | None = None,
    ) -> None:
        """What it prints is kept in `directory`, where it runs too unless that is elsewhere."""
        self._printed = directory / f"{name}.printed"
        with self._printed.open("wb") as out:
            self.process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", with_ports(text, env)],
                cwd=at or directory,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self._printed.read_text(errors="replace")

    def await_ready(self) -> None:
        block_until(lambda: self.is_over or any(word in self.text for word in READY), START_S)
        assert not self.is_over, self.text

    def await_end(self) -> None:
        """Fails unless it comes, and is a success."""
        assert self.process.wait(RUN_S) == 0, self.text

    def await_output(self, expected: str) -> None:
        """Every line of it, with anything in the place of `…`."""
        for line in filter(None, expected.splitlines()):
            pattern = re.compile(".*".join(map(re.escape, line.strip().split("…"))))
            try:
                block_until(lambda pattern=pattern: pattern.search(self.text), OUTPUT_S)
            except AssertionError:
                raise AssertionError(f"{line!r} is not printed, but this:\n{self.text}") from None

    @property
    def is_over(self) -> bool:
        return self.process.poll() is not None

    def end(self) -> int:
        """Ctrl+C, as whoever sits before it would press it; then whatever it left running."""
        if not self.is_over:
            os.killpg(self.process.pid, signal.SIGINT)
        code = self.process.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return code
