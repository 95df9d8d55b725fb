"""Every block of README.md, of docs/ and of the clients' pages is tried as it stands."""

import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from app.commands.data_dir import ADMIN_KEY, SECRET_KEY, new_admin_key, new_secret_key
from tests.clients import test_js_readme as js_readme
from tests.clients.python import test_readme as python_readme
from tests.docs import shell
from tests.docs.blocks import DATA, ROOT, SERVICE, Block, blocks_of, pages, why_untried
from tests.docs.commands import Scripts, check_command, commands_in, settings_in
from tests.docs.samples import check_sample
from tests.docs.shell import Terminal, environment, with_ports
from tests.wait import block_until

PAGES = pages()
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
[START] = [block for block in blocks_of(ROOT / "README.md") if block.kind == "terminal"]
CLIENT_BLOCKS = {"python": set(python_readme.BLOCKS), "js": set(js_readme.BLOCKS)}
WIDTH_MAX = 100  # of a drawing

PLAYED = {("sh", "terminal"), ("sh", "run"), ("python", "run"), ("js", "run"), ("text", "output")}
STATIC = [
    block for block in BLOCKS if (block.language, block.kind) not in PLAYED and block.kind != "dry"
]
DRY = [block for block in BLOCKS if block.kind == "dry"]
STORIES = [
    page
    for page in PAGES
    if any((block.language, block.kind) in PLAYED for block in blocks_of(page))
]


def test_every_block_is_tried():
    assert [told for block in BLOCKS if (told := why_untried(block)) is not None] == []
    assert len(BLOCKS) > 30
    assert all(block.text.strip() for block in BLOCKS)


@pytest.mark.parametrize("info", ["", "sh", "sh fun", "ruby run", "json", "text"])
def test_a_block_that_nothing_tries_is_found(tmp_path: Path, info: str):
    page = tmp_path / "page.md"
    page.write_text(f"A page.\n\n```{info}\nx\n```\n")
    [block] = blocks_of(page)
    assert f"{page.name}:3" in (why_untried(block) or "")


def test_a_block_that_is_never_closed_is_found(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("```sh run\ntrue\n")
    with pytest.raises(ValueError, match="never closed"):
        blocks_of(page)


@pytest.mark.parametrize("block", STATIC, ids=map(str, STATIC))
def test_a_block_that_is_not_run_is_right(block: Block):
    match block.language, block.kind:
        case "sh", "env":
            assert settings_in(block.text)
        case "sh" | "python", "backup":
            assert "blocks_of" in (ROOT / "tests/docs/test_backup.py").read_text()
        case "python" | "js", "client":
            assert block.value in CLIENT_BLOCKS[block.language]
        case "python", "file":
            compile(block.text, block.value, "exec")
        case "yaml", "parse":
            assert yaml.safe_load(block.text)
        case "js", "file":
            assert block.value.endswith((".js", ".mjs"))
        case "text", "drawing":
            assert max(map(len, block.text.splitlines())) <= WIDTH_MAX
            assert "{" not in block.text, "what looks like a message has to be one"
        case _:
            check_sample(block)


def test_what_takes_minutes_would_be_taken():
    """All together, because they import the same."""
    scripts = Scripts()
    for block in DRY:
        check_dry(block, scripts)
    assert len(scripts.asked) >= 10
    scripts.check_all()


@pytest.mark.minutes
@pytest.mark.timeout(3 * 3_600)
@pytest.mark.parametrize("block", DRY, ids=map(str, DRY))
def test_what_takes_minutes_works(block: Block, tmp_path: Path):
    """`pytest tests/docs -m minutes`, with nothing else on the machine."""
    command = ["bash", "-euo", "pipefail", "-c", typed(block)]
    env = {**environment(), "PIP_TARGET": str(tmp_path)}  # not into what the tests run with
    subprocess.run(command, cwd=ROOT, env=env, check=True)


@pytest.mark.parametrize(
    "command",
    [
        *("make lunch", "make chaos WITH=1", "make chaos CHAOS='--sed 2'", "moments dance"),
        *("moments up --datum ./data", "moments listen --port nine", "python -m scripts.no"),
        *("python -m scripts.capacity --users many", "python scripts/load_test.py --secs 3"),
        *("MOMENTS_PORTS=1 moments up", "MOMENTS_PORT=x moments up", "perl -e 1"),
    ],
)
def test_a_command_that_would_be_refused_is_found(command: str):
    scripts = Scripts()
    with pytest.raises((AssertionError, ValidationError)):  # noqa: PT012
        for words in commands_in(command):
            check_command(words, scripts)
        scripts.check_all()


def typed(block: Block) -> str:
    """What a reader types of it."""
    if block.language != "console":
        return block.text
    lines = [line for line in block.text.splitlines() if line.startswith("$ ")]
    return "\n".join(line.removeprefix("$ ") for line in lines)


def check_dry(block: Block, scripts: Scripts) -> None:
    commands = list(commands_in(typed(block)))
    assert commands
    for words in commands:
        check_command(words, scripts)


def is_on_a_service(page: Path) -> bool:
    return DATA not in page.read_text() and (bool(starts(page)) or SERVICE in page.read_text())


def starts(page: Path) -> list[Block]:
    return [block for block in blocks_of(page) if (block.kind, block.value) == ("terminal", "up")]


def named(pages: list[Path]) -> dict[str, list[Path] | list[str]]:
    return {"argvalues": pages, "ids": [str(page.relative_to(ROOT)) for page in pages]}


ALONE = [page for page in STORIES if not is_on_a_service(page)]
TOGETHER = [page for page in STORIES if is_on_a_service(page)]


@pytest.mark.parametrize("page", **named(ALONE))
def test_a_page_comes_true(page: Path, tmp_path: Path):
    directory = clone(tmp_path)
    if DATA in page.read_text():
        make_data(directory / "data")
    with ExitStack() as open_:
        play(blocks_of(page), directory, environment(), {}, open_)


@pytest.mark.timeout(180)
@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_pages_on_a_service_come_true(tmp_path: Path):
    """On one that is started as README says: once for all, because a start costs more than a page.
    Whoever reads on has started it before."""
    directory, env = clone(tmp_path), environment()
    up = Terminal(START.text, directory, env, "up")
    try:
        up.await_ready()
        what_it_proposes_works(up, directory, env)
        for page in TOGETHER:
            assert {command_of(block) for block in starts(page)} <= {command_of(START)}
            with ExitStack() as open_:
                play(blocks_of(page), directory, env, {"up": up}, open_)
    finally:
        assert up.end() == 0, up.text


def what_it_proposes_works(up: Terminal, directory: Path, env: dict[str, str]) -> None:
    block_until(lambda: "Ctrl+C stops" in up.text)
    lines = re.findall(r"^  (curl .*)$", up.text, re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        shell = ["bash", "-c", f"{line} --fail-with-body"]
        subprocess.run(shell, cwd=directory, env=env, check=True, timeout=30)


def command_of(block: Block) -> str:
    """What it starts, behind whatever it sets up."""
    return block.text.splitlines()[-1].replace(".venv/bin/", "")


def clone(directory: Path) -> Path:
    """As far as one needs a clone of the repository in which `make setup` was run."""
    (directory / ".venv").symlink_to(ROOT / ".venv")
    return directory


def make_data(directory: Path) -> None:
    """A data directory with its keys, in which nothing has been posted."""
    directory.mkdir()
    for name, text in ((ADMIN_KEY, new_admin_key()), (SECRET_KEY, new_secret_key())):
        (directory / name).write_text(text)
        (directory / name).chmod(0o600)


class Play:
    """What a reader does on one page, in one folder. `terminals` are open already."""

    def __init__(
        self,
        directory: Path,
        env: dict[str, str],
        terminals: dict[str, Terminal],
        open_: ExitStack,
    ) -> None:
        self._directory = directory
        self._env = env
        self._terminals = terminals
        self._open = open_
        self._last: Terminal | None = None

    def do(self, block: Block) -> None:
        match block.language, block.kind:
            case "sh", "terminal" if block.value in self._terminals:
                self._last = self._terminals[block.value]
            case "sh", "terminal":
                self._last = self._terminals[block.value] = self._start(block.text, block)
                self._last.await_ready()
            case "sh", "run":
                self._run(block.text, block)
            case "python" | "js" as language, "run":
                program, suffix = {"python": ("python", "py"), "js": ("node", "mjs")}[language]
                file = self._write(f"{block.page.stem}-{block.line}.{suffix}", block)
                self._run(f"{program} {file}", block)
            case "python" | "js", "file":
                self._write(block.value, block)
            case "text", "output":
                shown = self._terminals[block.value] if block.value else self._last
                assert shown is not None, "nothing was started whose output it could be"
                shown.await_output(with_ports(block.text, self._env))

    def _write(self, name: str, block: Block) -> Path:
        file = self._directory / name
        file.write_text(with_ports(block.text, self._env))
        return file

    def _run(self, text: str, block: Block) -> None:
        self._last = self._start(text, block, ROOT if block.value == "root" else None)
        self._last.await_end()

    def _start(self, text: str, block: Block, at: Path | None = None) -> Terminal:
        name = f"{block.page.stem}-{block.line}"
        terminal = Terminal(text, self._directory, self._env, name, at)
        self._open.callback(terminal.end)
        return terminal


def play(
    blocks: list[Block],
    directory: Path,
    env: dict[str, str],
    terminals: dict[str, Terminal],
    open_: ExitStack,
) -> None:
    """Does what a reader would, from the first block to the last."""
    playing = Play(directory, env, terminals, open_)
    for block in blocks:
        try:
            playing.do(block)
        except AssertionError as error:
            raise AssertionError(f"{block}: {error}") from error


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("```sh run\nfalse\ntrue\n```", "page.md:1"),
        ("```sh run\necho it is\n```\n```text output\nit is not\n```", "'it is not' is not"),
        ("```python run\nraise SystemExit(1)\n```", "page.md:1"),
        ("```text output\nx\n```", "nothing was started"),
    ],
)
def test_a_page_that_does_not_come_true_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
):
    monkeypatch.setattr(shell, "OUTPUT_S", 0.2)
    page = tmp_path / "page.md"
    page.write_text(text)
    with ExitStack() as open_, pytest.raises(AssertionError, match=told):
        play(blocks_of(page), tmp_path, environment(), {}, open_)


def test_anything_may_stand_in_the_place_of_dots(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("```sh run\necho at 12:01, it is so\n```\n```text output\nat …, it\n```\n")
    with ExitStack() as open_:
        play(blocks_of(page), tmp_path, environment(), {}, open_)
