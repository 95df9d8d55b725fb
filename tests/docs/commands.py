"""Commands that are not run: that there are such, and that they take what they are given."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import typer

from app.cli import cli
from app.settings import SECRET_SETTINGS, Settings
from tests.docs.blocks import ROOT

# Programs of others: they are the reader's.
OTHERS = {"apt-get", "pip", "cat", "cd", "cp", "docker", "git", "mkdir", "mv", "openssl", "tar"}
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)
_PREFIX = "MOMENTS_"


def commands_in(text: str) -> Iterator[list[str]]:
    """The commands of a block, in words, without comments."""
    for line in text.replace("\\\n", " ").splitlines():
        words: list[str] = []
        reader = shlex.shlex(line, posix=True, punctuation_chars=True)
        reader.whitespace_split = True
        for word in reader:
            if set(word) <= set("&|;"):
                yield from [words] if words else []
                words = []
            else:
                words.append(word)
        yield from [words] if words else []


class Scripts:
    """Those that stand in blocks, with what they say when they are asked for help behind their
    arguments: these are read before, and may be refused."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def check_all(self) -> None:
        """Fails when one is not there, has not an option, or refuses its value."""
        answers = subprocess.run(
            [sys.executable, ROOT / "tests" / "docs" / "helps.py"],
            cwd=ROOT,
            input=json.dumps(self.asked),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        for words, (code, told) in zip(self.asked, json.loads(answers.stdout), strict=True):
            assert code == 0, f"{' '.join(words)}: {told}"
            for word in words[1:]:
                if word.startswith("--"):
                    option = re.escape(word.partition("=")[0])
                    assert re.search(rf"{option}\b", told), f"{' '.join(words)}: no {word}"


def check_command(words: Sequence[str], scripts: Scripts) -> None:
    """Fails when there is no such command, or it would refuse these words. Scripts are left to be
    checked together."""
    while words and (words[0] == "export" or _ASSIGNMENT.fullmatch(words[0])):
        if words[0] != "export":
            check_assignment(words[0])
        words = words[1:]
    if not words:
        return
    name, *rest = words
    if name == "make":
        _check_make(rest, scripts)
    elif name == "moments":
        _check_moments(rest)
    elif name == "python":
        scripts.asked.append(rest)
    else:
        assert name in OTHERS, f"nobody knows whether there is a command {name}"


def check_assignment(word: str) -> None:
    """Fails when a variable with our prefix is no setting, or its value is none that it takes."""
    name, _, value = word.partition("=")
    if not name.startswith(_PREFIX):
        return
    setting = name.removeprefix(_PREFIX).lower()
    if setting.endswith("_file") and setting.removesuffix("_file") in SECRET_SETTINGS:
        return
    assert setting in Settings.model_fields, f"there is no setting {name}"
    if "$" not in value:
        Settings.model_validate({setting: value})


@cache
def makefile() -> str:
    return (ROOT / "Makefile").read_text()


def _check_make(words: Sequence[str], scripts: Scripts) -> None:
    targets = [word for word in words if "=" not in word]
    for target in targets:
        assert re.search(rf"^{re.escape(target)}:", makefile(), re.MULTILINE), f"make {target}"
    for word in words:
        variable, equals, value = word.partition("=")
        if equals:
            # The module that a target hands the variable to.
            handed = re.search(rf"-m ([\w.]+) \$\({variable}\)", makefile())
            assert handed or f"$({variable})" in makefile(), f"make knows no {variable}"
            if handed:
                scripts.asked.append(["-m", handed[1], *shlex.split(value)])


def _check_moments(words: Sequence[str]) -> None:
    command: Any = typer.main.get_command(cli)
    rest = list(words)
    while hasattr(command, "commands"):
        name = rest.pop(0)
        if name == "--help":
            return
        assert name in command.commands, f"there is no command moments {name}"
        command = command.commands[name]
    try:
        command.make_context("moments", rest)
    except typer.Exit:
        pass  # of --help
    except Exception as error:  # the parser's own, which Typer does not hand out
        raise AssertionError(f"moments {' '.join(words)}: {error}") from None


def settings_in(text: str) -> Mapping[str, str]:
    """The variables that a block sets. Fails when one is no setting."""
    found: dict[str, str] = {}
    for words in commands_in(text):
        for word in words:
            if word != "export":
                assert _ASSIGNMENT.fullmatch(word), f"{word} sets nothing"
                check_assignment(word)
                name, _, found[name] = word.partition("=")
    return found
