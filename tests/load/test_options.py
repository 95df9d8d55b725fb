"""What may be asked for, and what is said when it makes no sense."""

from pathlib import Path

import pytest

from scripts.load.options import Options, as_typed, read_options
from scripts.load.scenarios import SCENARIOS

ABOUT = {name: scenario.about for name, scenario in SCENARIOS.items()}
DEFAULTS = {name: scenario.defaults for name, scenario in SCENARIOS.items()}


def read(*arguments: str) -> Options:
    return read_options(arguments, ABOUT, DEFAULTS)


def test_all_scenarios_are_there_by_name():
    assert set(SCENARIOS) == {
        *(
            "steady",
            "burst",
            "celebrity",
            "hanging",
            "relay",
            "backlog",
            "sockets",
            "push",
            "ramp",
            "tls",
        ),
        "circles",
    }


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_what_is_not_given_is_the_scenarios_choice(name: str):
    options, scenario = read(name), SCENARIOS[name]
    assert options.seconds == scenario.seconds
    assert options.rate == scenario.rate
    assert options.people == scenario.people
    assert options.out == Path("reports/load") / name


def test_what_is_given_goes_first():
    options = read(
        *("steady", "--seconds", "7", "--rate", "12.5", "--people", "50", "--light"),
        *("--set", "MOMENTS_LEASE_S=3", "--set", "breaker_failures=9", "--seed", "4"),
    )
    assert (options.seconds, options.rate, options.people) == (7.0, 12.5, 50)
    assert options.light
    assert options.settings == {"lease_s": "3", "breaker_failures": "9"}
    assert options.seed == 4


def test_a_count_may_be_written_with_separators():
    assert read("backlog", "--count", "1,000_000").count == 1_000_000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "invalid choice"),
        (["steady", "--seconds", "0"], "from 0.5 to"),
        (["steady", "--rate", "1000000"], "from 1 to 100,000"),
        (["steady", "--people", "2"], "from 4 to"),
        (["steady", "--seconds", "3600", "--rate", "100000"], "more than 20,000,000 deliveries"),
        (["steady", "--url", "http://127.0.0.1:8000"], "go together"),
        (["steady", "--url", "http://127.0.0.1:8000", "--key", "mk_x"], "go together"),
        (["steady", "--gateway-url", "ws://127.0.0.1:8001", "--key", "mk_x"], "go together"),
        (["steady", "--url", "http://h", "--gateway-url", "ws://h"], "go together"),
        (["steady", "--set", "lease_s"], "NAME=VALUE"),
    ],
)
def test_nonsense_is_refused_with_a_word(
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.delenv("MOMENTS_ADMIN_KEY", raising=False)
    with pytest.raises(SystemExit) as ended:
        read(*arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_the_key_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MOMENTS_ADMIN_KEY", "mk_environment")
    options = read("steady", "--url", "http://h", "--gateway-url", "ws://h")
    assert options.key == "mk_environment"


def test_the_report_shows_the_command_without_the_key():
    typed = as_typed(["steady", "--key", "mk_secret", "--set=admin_key=mk_secret"], "mk_secret")
    assert typed.startswith("python scripts/load_test.py steady --key")
    assert "mk_secret" not in typed
