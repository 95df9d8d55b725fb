"""The command line as a whole: what programs, shells and people with a typing error get from it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from app import __version__
from app.cli import cli, main
from app.commands.data_dir import Secret
from app.commands.summary import Summary
from app.demo.cast import Cast
from app.demo.report import json_report
from app.demo.verdict import Evidence
from app.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

# Commands without --json, and why.
WITHOUT_JSON = {
    "api": "runs one process, whose lines are JSON with MOMENTS_LOG_FORMAT=json",
    "gateway": "the same",
    "worker": "the same",
}


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command by its words."""
    if not hasattr(command, "commands"):
        yield " ".join(path), command
        return
    for name, inner in command.commands.items():
        yield from commands(inner, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(cli)))


def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: one for name, one in os.environ.items() if "MOMENTS_" not in name}
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *words],
        cwd=ROOT,
        env={**inherited, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_every_command_has_json_for_programs_or_a_reason_not_to():
    assert len(COMMANDS) > 10
    without = {
        words
        for words, command in COMMANDS.items()
        if not any("--json" in parameter.opts for parameter in command.params)
    }
    assert without == set(WITHOUT_JSON)


def test_the_table_of_commands_names_each_of_them():
    told = set(re.findall(r"`(moments [^`]+)`", README))
    for words in COMMANDS:
        assert any(f"{one} ".startswith(f"moments {words} ") for one in told), words


@pytest.mark.parametrize(("words", "status"), [(["version"], 0), (["nope"], 2), (["doctor"], 0)])
def test_exit_codes_are_those_that_are_told(words: list[str], status: int, tmp_path: Path):
    more = ["--data", str(tmp_path)] if words == ["doctor"] else []
    assert run(*words, *more).returncode == status
    told = run("--help").stdout
    assert "Ends with 0" in " ".join(told.split())


@pytest.mark.parametrize("words", [[], ["key"], ["secret-key"]])
def test_what_a_command_does_is_told_to_its_end_in_the_list(words: list[str]):
    assert "..." not in run(*words, "--help").stdout.partition("Commands:")[2]


def test_the_version_is_told_to_programs():
    assert json.loads(run("version", "--json").stdout) == {"version": __version__}


MISTAKES: list[tuple[str, str]] = [
    ("doctr", "Did you mean 'doctor'"),
    ("up --port 99999", "--port"),
    ("up --port 0 --gateway-port 0 --data /proc/nope", "choose another with --data"),
    ("listen", "--port"),
    ("listen --port 0 --secret x", "the secret is not base64"),
    ("listen --port 0 --delay soon", "write 250ms, 1s, 2m or 1h"),
    ("listen --port 0 --behave nonsense", "there are ok, drip"),
    ("listen --port 0 --status 503 --behave drip", "write --behave status=CODE"),
    ("tail --user bob --data /nope", "give --key mk_…"),
    ("tail --user bob --token x --url http://x", "no URL such as ws://"),
    ("token bob --key mk_x --ttl soon", "--ttl"),
    ("token bob --key mk_x --api nope", "no URL such as http://"),
    ("key make x --scope king", "'admin', 'publish', 'read'"),
    ("key list --data /nope", "give --key mk_…"),
    ("secret-key rotate --data /nope", "with --data"),
    ("worker --role king", "'fanout', 'sender', 'janitor'"),
]


@pytest.mark.parametrize(("line", "told"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_is_answered_with_what_to_do(
    line: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    for name in os.environ:
        if name.startswith("MOMENTS_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "argv", ["moments", *line.split(" ")])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr()
    assert ended.value.code == 2
    assert told in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_an_api_that_is_away_is_a_failure_and_no_mistake():
    ran = run("token", "bob", "--key", "mk_x", "--api", "http://127.0.0.1:1")
    assert ran.returncode == 1
    assert "is it running? Start it with `moments up`" in ran.stderr


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("moments do", ["doctor"]),
        ("moments key ", ["make", "list", "revoke"]),
        ("moments tail --j", ["--json"]),
    ],
)
def test_bash_completes_commands_and_options(typed: str, completed: list[str], tmp_path: Path):
    installed = tmp_path / "moments"
    installed.write_text(f"#!{sys.executable}\nfrom app.cli import main\nmain()\n")
    installed.chmod(0o755)
    words = " ".join(f"'{word}'" for word in typed.split(" "))
    script = f"""
        set -u
        eval "$(moments --show-completion)"
        COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _moments_completion moments
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    path = f"{tmp_path}:{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ran.stderr == ""
    assert ran.stdout.split() == completed


def summary(made: bool, **changes: object) -> Summary:
    key = Secret("mk_secret-of-the-first-start", made=made)
    fields = {"settings": Settings(), "data": Path("/d"), "workers": 2, "gateway": True}
    return Summary(**{**fields, "admin_key": key, **changes})  # type: ignore[arg-type]


def test_what_up_tells_programs_is_what_it_tells_people():
    told = json.loads(summary(made=True).json())
    assert told["api"] in summary(made=True).text()
    assert told["gateway"] == "ws://127.0.0.1:8001/v1/socket"
    assert (told["version"], told["workers"], told["data"]) == (__version__, 2, "/d")
    assert told["admin_key"] == "mk_secret-of-the-first-start"
    later = summary(made=False).json()
    assert json.loads(later)["admin_key"] is None
    assert json.loads(later)["admin_key_file"] == "/d/admin.key"
    assert "mk_secret" not in later
    bare = json.loads(summary(made=False, gateway=False, admin_key=None).json())
    assert (bare["gateway"], bare["admin_key_file"]) == (None, None)


def test_what_the_demo_tells_programs_is_json_without_numbers_that_are_none():
    cast = Cast(**{name: {} for name in Cast.__dataclass_fields__})
    evidence = Evidence(cast, [], {}, {}, {})
    told = json.loads(json_report(evidence, ["odd"], 1.25), parse_constant=pytest.fail)
    assert (told["ok"], told["complaints"], told["took_s"]) == (False, ["odd"], 1.2)
    assert [one["p99_ms"] for one in told["latencies"]] == [None] * 4
