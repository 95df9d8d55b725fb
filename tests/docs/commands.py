"""Commands that are not run: that there are such, and that they take what they are given."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import click
import typer

from app.cli import cli
from app.settings import SECRET_SETTINGS, Settings
from tests.docs.blocks import ROOT

# Programs of others: they are the reader's.
OTHERS = {"apt-get", "cat", "cd", "cp", "docker", "git", "mkdir", "mv", "openssl", "tar"}
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)
_PREFIX = "MOMENTS_"


def commands_in(text: str) -> Iterator[list[str]]:
    """The commands of a block, in words, without comments."""
    for line in text.replace("\\\n", " ").splitlines():
        for part in re.split(r"&&|\|\||;| \| ", line) if "'" not in line else [line]:
            words = shlex.split(part, comments=True)
            if words:
                yield words


def check_command(words: Sequence[str]) -> None:
    """Fails when there is no such command, or it would refuse these words."""
    while words and (words[0] == "export" or _ASSIGNMENT.fullmatch(words[0])):
        if words[0] != "export":
            check_assignment(words[0])
        words = words[1:]
    if not words:
        return
    name, *rest = words
    if name == "make":
        _check_make(rest)
    elif name == "moments":
        _check_moments(rest)
    elif name == "python":
        _check_script(rest)
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


def _check_make(words: Sequence[str]) -> None:
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
                _check_script(["-m", handed[1], *shlex.split(value)])


def _check_moments(words: Sequence[str]) -> None:
    command: click.Command = typer.main.get_command(cli)
    rest = list(words)
    while isinstance(command, click.Group):
        name = rest.pop(0)
        inner = command.commands.get(name)
        assert inner is not None, f"there is no command moments {name}"
        command = inner
    try:
        command.make_context("moments", rest)
    except click.exceptions.Exit:
        pass  # of --help
    except click.UsageError as error:
        raise AssertionError(f"moments {' '.join(words)}: {error.format_message()}") from None


def _check_script(words: Sequence[str]) -> None:
    """Its help is asked for behind its arguments: those before are read, and may be refused."""
    script, *given = words[1:] if words[0] == "-m" else words
    told = _help_of((*(["-m"] if words[0] == "-m" else []), script), tuple(given))
    for word in given:
        if word.startswith("--"):
            option = word.partition("=")[0]
            assert re.search(rf"{re.escape(option)}\b", told), f"{script} has no {option}"


@cache
def _help_of(script: tuple[str, ...], given: tuple[str, ...]) -> str:
    asked = subprocess.run(
        [sys.executable, *script, *given, "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert asked.returncode == 0, asked.stderr
    return asked.stdout


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
