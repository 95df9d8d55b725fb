"""docs/bounds.md tells what is: its settings, numbers, metrics and tests are there as it says."""

import ast
import re
from functools import cache
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import NamedTuple

import pytest

from app import metric_names
from app.api.problems import KINDS
from app.api.rates import AUTHOR, FAILURE, KEY, USER
from app.bounds import BOUNDS
from app.domain.attempt import Failure
from app.domain.close_codes import BROKEN, CloseCode
from app.metric import Metric
from app.metric_names import METRICS
from app.settings import Settings

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "bounds.md"
HEAD = ["bound", "setting", "when it is reached", "told by", "test"]
LABELS = {
    "code": {str(int(code)) for code in (*CloseCode, *BROKEN)},
    "kind": {kind.word for kind in KINDS},
    "result": {*(failure.value for failure in Failure), "dropped"},
    "status": {"431"},
}


# What is logged where it happens: the file, and the words of the line.
TOLD_WHERE_REACHED = {
    **{
        ("moments_sockets_closed_total", str(int(code))): ("app/gateway/connection.py", "closing")
        for code in (*CloseCode, *BROKEN)
    },
    **{
        ("moments_sockets_refused_total", limit): ("app/gateway/door.py", "a socket was refused")
        for limit in ("sockets_max", "sockets_per_user_max")
    },
    ("moments_sockets_refused_total", "connections_per_address_max"): (
        "app/gateway/door.py",
        "a connection was refused",
    ),
    ("moments_sockets_refused_total", "tokens_awaited_max"): (
        "app/gateway/newcomers.py",
        "a socket was refused",
    ),
    ("moments_sockets_closed_total", "4005"): ("app/gateway/newcomers.py", "no token"),
    **{
        ("moments_api_problems_total", kind.word): ("app/api/refusals.py", "requests refused")
        for kind in KINDS
        if kind.status in (429, 503)
    },
    **{
        ("moments_api_feed_waits_refused_total", limit): ("app/api/refusals.py", "requests refused")
        for limit in ("feed_waits_max", "per_user")
    },
    **{
        ("moments_api_rate_refused_total", limit): ("app/api/refusals.py", "requests refused")
        for limit in (USER, KEY, AUTHOR, FAILURE)
    },
    ("moments_posts_refused_total", ""): ("app/api/refusals.py", "requests refused"),
    ("moments_sockets_fallen_behind_total", ""): (
        "app/gateway/connection.py",
        "a socket is behind",
    ),
    ("moments_handshakes_timed_out_total", ""): (
        "app/gateway/server.py",
        "no request came in time",
    ),
    ("moments_connections_refused_total", ""): (
        "app/gateway/server.py",
        "connections were refused",
    ),
    ("moments_repeats_dropped_total", ""): ("app/gateway/repeats.py", "not pushed again"),
}


class Row(NamedTuple):
    bound: str
    setting: str
    outcome: str
    told_by: str
    test: str


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def rows_of(page: str) -> list[Row]:
    """The rows of all tables. Fails for a table with other columns."""
    rows: list[Row] = []
    for block in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        head, _, *lines = map(cells, block.splitlines())
        assert head == HEAD
        rows += [Row(*line) for line in lines]
    return rows


@cache
def sources() -> str:
    """The source of the service, but for the list of metrics."""
    paths = [path for folder in ("app", "workers") for path in (ROOT / folder).rglob("*.py")]
    return "".join(path.read_text() for path in paths if path.name != "metric_names.py")


@cache
def registrations() -> str:
    paths = ("app/gateway/metrics.py", "workers/metrics.py", "app/api/stats.py", "app/commands")
    files = [file for path in paths for file in ((ROOT / path), *(ROOT / path).glob("*.py"))]
    return "".join(file.read_text() for file in files if file.is_file())


@cache
def functions(path: Path) -> frozenset[str]:
    made = ast.parse(path.read_text()).body
    return frozenset(
        node.name for node in made if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def number_in_source(path: str) -> object:
    """Of `module.NAME`, or of the parameter in `module.Class.name`."""
    module, _, name = path.rpartition(".")
    owner, _, kind = module.rpartition(".")
    if kind[0].isupper():
        return signature(getattr(import_module(owner), kind)).parameters[name].default
    return getattr(import_module(module), name)


def check_setting(row: Row) -> None:
    named = re.findall(r"`([\w.]+)` = ([\d.]+)", f"{row.setting}, {row.outcome}")
    assert named or row.setting.startswith("`rate_per_s` of the endpoint"), "names no setting"
    for name, default in named:
        if name.startswith("MOMENTS_"):
            field = Settings.model_fields.get(name.removeprefix("MOMENTS_").lower())
            assert field is not None, f"{name} is no setting"
            is_now = field.default
        else:
            is_now = number_in_source(name)
        assert is_now == float(default), f"{name} is {is_now}"


def told_by(row: Row) -> list[tuple[str, str, str]]:
    """Metric, label and value; the last two are empty where none are named."""
    return re.findall(r'`(moments_\w+)(?:\{(\w+)="([^"]+)"\})?`', row.told_by)


def check_metrics(row: Row) -> None:
    told = told_by(row)
    assert told, "names no metric"
    by_name = {metric.name: metric for metric in METRICS}
    for name, label, value in told:
        assert name in by_name, f"{name} is no metric"
        [constant] = [
            word for word, metric in vars(metric_names).items() if metric is by_name[name]
        ]
        assert isinstance(getattr(metric_names, constant), Metric)
        assert re.search(rf"\b{constant}\b", registrations()), f"{name} is registered nowhere"
        if label in LABELS:
            assert value in LABELS[label], f"{name} has no {label} {value}"
        elif label:
            assert f'"{value}"' in sources(), f"{name} has no {label} {value}"


def check_log(row: Row) -> None:
    """What counts that the bound is reached is told in the log too."""
    told = [
        (name, value)
        for name, label, value in told_by(row)
        if (name, value) in TOLD_WHERE_REACHED
        or any(
            bound.metric.name == name
            and bound.label == label
            and (not bound.values or value in bound.values)
            for bound in BOUNDS
        )
    ]
    assert told, f"the log does not tell of {row.bound}"


def check_test(row: Row) -> None:
    named = re.fullmatch(r"`([\w/]+\.py)::(test_\w+)`", row.test)
    assert named, "names no test"
    path = ROOT / named[1]
    assert path.is_file(), f"there is no {named[1]}"
    assert named[2] in functions(path), f"there is no {named[2]} in {named[1]}"


ROWS = rows_of(PAGE.read_text())


@pytest.mark.parametrize("row", ROWS, ids=[row.bound.replace(" ", "-") for row in ROWS])
def test_a_bound_is_as_the_page_says(row: Row):
    check_setting(row)
    check_metrics(row)
    check_log(row)
    check_test(row)


def test_every_bound_that_can_be_set_is_on_the_page():
    text = PAGE.read_text()
    # What a caller asks for is cut to these; nothing fills up.
    cut = {"token_ttl_max_s", "retry_after_max_s", "pause_max_s"}
    bounds = {name for name in Settings.model_fields if re.search(r"_max(_|$)", name)} - cut
    missing = [name for name in sorted(bounds) if f"`MOMENTS_{name.upper()}`" not in text]
    assert missing == []
    assert len(ROWS) > 40


def test_what_is_logged_where_it_happens_is():
    for path, words in set(TOLD_WHERE_REACHED.values()):
        assert f'"{words}"' in (ROOT / path).read_text()


def test_the_log_tells_of_nothing_that_is_not_on_the_page():
    on_page = {name for row in ROWS for name, _, _ in told_by(row)}
    assert {bound.metric.name for bound in BOUNDS} <= on_page


@pytest.mark.parametrize(
    ("field", "wrong", "complaint"),
    [
        ("setting", "`MOMENTS_NO_SUCH_MAX` = 4", "is no setting"),
        ("setting", "`MOMENTS_ENDPOINT_IN_FLIGHT_MAX` = 5", "is 4"),
        ("setting", "`workers.sender.MOVE_MAX` = 501", "is 500"),
        ("setting", "four", "names no setting"),
        ("told_by", "`moments_no_such_total`", "is no metric"),
        ("told_by", '`moments_lane_waits_total{limit="no_such"}`', "has no limit"),
        ("told_by", '`moments_sockets_closed_total{code="4999"}`', "has no code"),
        ("told_by", "`moments_slices_total`", "the log does not tell"),
        ("told_by", '`moments_attempts_total{result="connect"}`', "the log does not tell"),
        ("told_by", "a line in the log", "names no metric"),
        ("test", "`tests/test_no_such.py::test_it`", "there is no tests"),
        ("test", "`tests/workers/test_lanes.py::test_no_such`", "there is no test_no_such"),
        ("test", "none", "names no test"),
    ],
)
def test_what_the_page_has_wrong_is_found(field: str, wrong: str, complaint: str):
    with pytest.raises(AssertionError, match=complaint):
        test_a_bound_is_as_the_page_says(ROWS[0]._replace(**{field: wrong}))
