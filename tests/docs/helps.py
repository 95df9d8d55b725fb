"""Asks several programs of ours for their help, behind their arguments: JSON in, JSON out.

Each in a process of its own, but with what they import imported once.
"""

import importlib
import json
import os
import runpy
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory


def ask(words: list[str], told: Path) -> int:
    """The exit code; what was printed stands in `told`."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    out = os.open(told, os.O_WRONLY | os.O_CREAT)
    os.dup2(out, 1)
    os.dup2(out, 2)
    code = 1
    try:
        sys.argv = [*words[1:], "--help"] if words[0] == "-m" else [*words, "--help"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the module was imported already
            if words[0] == "-m":
                runpy.run_module(words[1], run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    asked: list[list[str]] = json.load(sys.stdin)
    sys.path.insert(0, os.getcwd())
    for words in asked:
        with suppress(ImportError):  # which is told when it is run
            importlib.import_module(words[1] if words[0] == "-m" else "scripts.load.command")
    answers: list[tuple[int, str]] = []
    with TemporaryDirectory() as directory:
        for number, words in enumerate(asked):
            told = Path(directory, str(number))
            answers.append((ask(words, told), told.read_text()))
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
