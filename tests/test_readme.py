"""The README's commands, run as they stand but for the ports, which may be in use here."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.store_servers import free_ports
from tests.wait import block_until

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = dict(re.findall(r"^```sh (\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL))
START_S = 30.0


class Terminal:
    """One of the terminals that the README speaks of: a shell, and what it has printed."""

    def __init__(self, block: str, directory: Path, env: dict[str, str]) -> None:
        self._printed = directory / f"{block}.txt"
        with self._printed.open("wb") as out:
            self.process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", _with_ports(BLOCKS[block], env)],
                cwd=directory,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self._printed.read_text()

    def shows(self, *parts: str) -> bool:
        return all(part in self.text for part in parts)

    def end(self) -> int:
        """Ctrl+C, as whoever sits before it would press it."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(30)


def _with_ports(text: str, env: dict[str, str]) -> str:
    return text.replace("8000", env["MOMENTS_PORT"]).replace("9000", env["RECEIVER_PORT"])


def _environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if "MOMENTS" not in name}
    ports = map(str, free_ports(3))
    names = ("MOMENTS_PORT", "MOMENTS_GATEWAY_PORT", "RECEIVER_PORT")
    path = f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"
    return {**inherited, "PATH": path, **dict(zip(names, ports, strict=True))}


@contextmanager
def terminals(directory: Path) -> Iterator[dict[str, Terminal]]:
    env = _environment()
    with ExitStack() as open_:

        def run(block: str) -> Terminal:
            terminal = Terminal(block, directory, env)
            open_.callback(terminal.end)
            return terminal

        found = {"up": run("up")}
        block_until(lambda: found["up"].shows("is ready"), START_S)
        found |= {"listen": run("listen"), "tail": run("tail")}
        block_until(lambda: found["tail"].shows('"hello"'), START_S)
        block_until(lambda: found["listen"].shows("listening"), START_S)
        found["curl"] = run("curl")
        yield found


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_story_of_the_first_screen_comes_true(tmp_path: Path) -> None:
    with terminals(tmp_path) as found:
        assert found["curl"].process.wait(30) == 0, found["curl"].text
        assert found["curl"].text.count('"state":"delivered"') == 2, found["curl"].text
        block_until(lambda: found["listen"].shows("✓ 204 post.created", "to=bob", "hello, friends"))
        block_until(lambda: found["tail"].shows('"type": "post.created"', "hello, friends"))
    assert found["up"].process.returncode == 0, found["up"].text


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_what_up_proposes_to_try_works(tmp_path: Path) -> None:
    env = _environment()
    up = Terminal("up", tmp_path, env)
    try:
        block_until(lambda: up.shows("Ctrl+C stops"), START_S)
        lines = re.findall(r"^  (curl .*)$", up.text, re.MULTILINE)
        assert len(lines) == 2
        for line in lines:
            shell = ["bash", "-c", f"{line} --fail-with-body"]
            subprocess.run(shell, cwd=tmp_path, env=env, check=True, timeout=30)
    finally:
        assert up.end() == 0


def test_every_make_target_and_command_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"^make ([\w-]+)", README, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    cli = (ROOT / "app/cli.py").read_text()
    for command in set(re.findall(r"`moments (\w[\w-]*)", README)):
        assert f"def {command}(" in cli or f'name="{command}"' in cli, command


def test_every_file_that_is_linked_exists() -> None:
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / path).exists(), path
