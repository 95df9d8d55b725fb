"""Every block of README.md, of docs/ and of the clients' pages is tried as it stands."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from app.commands.data_dir import ADMIN_KEY, SECRET_KEY, new_admin_key, new_secret_key
from tests.docs.blocks import DATA, ROOT, SERVICE, Block, blocks_of, pages, why_untried
from tests.docs.commands import Scripts, check_command, commands_in, settings_in
from tests.docs.samples import check_sample
from tests.docs.shell import Terminal, environment, with_ports

PAGES = pages()
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
[START] = [block for block in blocks_of(ROOT / "README.md") if block.kind == "terminal"]
WIDTH_MAX = 100  # of a drawing

PLAYED = {("sh", "terminal"), ("sh", "run"), ("python", "run"), ("js", "run"), ("text", "output")}
STATIC = [
    block for block in BLOCKS if (block.language, block.kind) not in PLAYED and block.kind != "dry"
]
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
    for block in BLOCKS:
        if block.kind == "dry":
            check_dry(block, scripts)
    assert len(scripts.asked) >= 10
    scripts.check_all()


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


def check_dry(block: Block, scripts: Scripts) -> None:
    text = block.text
    if block.language == "console":
        typed = [line for line in text.splitlines() if line.startswith("$ ")]
        text = "\n".join(line.removeprefix("$ ") for line in typed)
    commands = list(commands_in(text))
    assert commands
    for words in commands:
        check_command(words, scripts)


@dataclass(frozen=True, slots=True)
class Running:
    directory: Path
    env: dict[str, str]
    up: Terminal


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A folder in which a service was started as README says, its environment and its terminal: for
    all pages that start one so, or want one."""
    directory, env = clone(tmp_path_factory.mktemp("service")), environment()
    up = Terminal(START.text, directory, env, "up")
    try:
        up.await_ready()
        yield Running(directory, env, up)
    finally:
        assert up.end() == 0, up.text


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_what_up_proposes_to_try_works(running: Running):
    directory, env = running.directory, running.env
    lines = re.findall(r"^  (curl .*)$", (directory / "up.printed").read_text(), re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        shell = ["bash", "-c", f"{line} --fail-with-body"]
        subprocess.run(shell, cwd=directory, env=env, check=True, timeout=30)


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
@pytest.mark.parametrize("page", STORIES, ids=[str(page.relative_to(ROOT)) for page in STORIES])
def test_a_page_comes_true(page: Path, tmp_path: Path, request: pytest.FixtureRequest):
    text, blocks = page.read_text(), blocks_of(page)
    starts = [block for block in blocks if (block.kind, block.value) == ("terminal", "up")]
    terminals: dict[str, Terminal] = {}
    if DATA not in text and (starts or SERVICE in text):
        # Whoever reads on has started it before: the same command on the same folder.
        assert {command_of(block) for block in starts} <= {command_of(START)}
        running: Running = request.getfixturevalue("running")
        directory, env = running.directory, running.env
        terminals["up"] = running.up
    else:
        directory, env = clone(tmp_path), environment()
        if DATA in text:
            make_data(directory / "data")
    with ExitStack() as open_:
        play(blocks, directory, env, terminals, open_)


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


def play(
    blocks: list[Block],
    directory: Path,
    env: dict[str, str],
    terminals: dict[str, Terminal],
    open_: ExitStack,
) -> None:
    """Does what a reader would, from the first block to the last. `terminals` are open already."""
    last: Terminal | None = None

    def opened(text: str, block: Block, at: Path | None = None) -> Terminal:
        terminal = Terminal(text, directory, env, f"{block.page.stem}-{block.line}", at)
        open_.callback(terminal.end)
        return terminal

    for block in blocks:
        match block.language, block.kind:
            case "sh", "terminal" if block.value in terminals:
                last = terminals[block.value]
            case "sh", "terminal":
                last = terminals[block.value] = opened(block.text, block)
                last.await_ready()
            case "sh", "run":
                last = opened(block.text, block, ROOT if block.value == "root" else None)
                last.await_end()
            case "python" | "js" as language, "run":
                suffix = {"python": "py", "js": "mjs"}[language]
                file = directory / f"{block.page.stem}-{block.line}.{suffix}"
                file.write_text(with_ports(block.text, env))
                program = {"python": "python", "js": "node"}[language]
                last = opened(f"{program} {file}", block)
                last.await_end()
            case "python" | "js", "file":
                (directory / block.value).write_text(with_ports(block.text, env))
            case "text", "output":
                shown = terminals[block.value] if block.value else last
                assert shown is not None
                shown.await_output(with_ports(block.text, env))
