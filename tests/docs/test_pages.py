"""What the documents name is there: files, places in pages, commands, settings, metrics, calls."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.metrics import METRICS
from app.settings import SECRET_SETTINGS, Settings
from scripts.docs import BEGIN, PAGE, default_of, groups, limits_of, table, unit_of, with_table
from tests.api.description import DOCUMENT
from tests.docs.blocks import ROOT, blocks_of, pages
from tests.docs.commands import Scripts, check_command

PAGES = pages()
EVERY = [*PAGES, *sorted((ROOT / "docs" / "decisions").glob("*.md")), ROOT / "CHANGELOG.md"]
CLIENT = "moments_client"  # the package for Python
# Which names of the environment are no settings, and stand in a page all the same.
_SUFFIXES = ("_bucket", "_sum", "_count")


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


def prose(page: Path) -> str:
    """A page without its blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", EVERY, ids=names(EVERY))
def test_every_link_leads_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.exists(), f"{target}: there is no {path}"
        if anchor and file.suffix == ".md":
            assert anchor in set(anchors(file)), f"{target}: there is no such heading"


def anchors(page: Path) -> Iterator[str]:
    """The places that a heading makes, as GitHub names them."""
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", heading).lower()
        yield re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_setting_that_is_named_is_one(page: Path):
    for name in set(re.findall(r"MOMENTS_([A-Z0-9_]*[A-Z0-9])\b", page.read_text())):
        setting = name.lower()
        if setting.endswith("_file") and setting not in Settings.model_fields:
            assert setting.removesuffix("_file") in SECRET_SETTINGS, name
        else:
            assert setting in Settings.model_fields, name


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_metric_that_is_named_is_one(page: Path):
    known = {metric.name for metric in METRICS}
    for name in set(re.findall(r"\bmoments_[a-z_]+[a-z]\b", prose(page))):
        bare = next((name.removesuffix(one) for one in _SUFFIXES if name.endswith(one)), name)
        assert {name, bare} & known or name == CLIENT, name


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_command_that_is_named_exists(page: Path):
    for command in set(re.findall(r"`make ([\w-]+)", prose(page))):
        check_command(["make", command], Scripts())
    for text in set(re.findall(r"`moments ([a-z][a-z-]*(?: [a-z]+)?)", prose(page))):
        words = text.split()
        is_group = words[0] in ("key", "secret-key")
        given = words if is_group and len(words) > 1 else words[:1]
        check_command(["moments", *given, "--help"], Scripts())


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_call_that_is_named_is_described(page: Path):
    templates = {
        (method.upper(), re.sub(r"{\w+}", "{}", path))
        for path, item in DOCUMENT["paths"].items()
        for method in item
    }
    for method, path in set(
        re.findall(r"`(GET|PUT|POST|PATCH|DELETE) (/v1/[^\s`?]+)", prose(page))
    ):
        assert (method, re.sub(r"{\w+}", "{}", path)) in templates, f"{method} {path}"


def test_readme_begins_with_a_verified_webhook():
    """On its first screen, with nothing but the service, and with code of one's own."""
    screen = "\n".join((ROOT / "README.md").read_text().splitlines()[:48])
    [shown] = [block for block in blocks_of(ROOT / "README.md") if block.kind == "output"]
    assert shown.text in screen
    assert "webhook.verify(" in screen


def test_the_table_of_settings_is_up_to_date():
    """If not: `make docs`."""
    text = PAGE.read_text()
    assert with_table(text) == text


def test_the_table_has_every_setting_once():
    named, shown = [name for _, names in groups() for name in names], table()
    assert sorted(named) == sorted(Settings.model_fields)
    for name in Settings.model_fields:
        assert shown.count(f"| `MOMENTS_{name.upper()}` |") == 1


def test_every_setting_says_what_it_is_for():
    for name, field in Settings.model_fields.items():
        assert len(field.description or "") > 5, name


@pytest.mark.parametrize(
    ("name", "default", "unit", "limits"),
    [
        ("retention_s", "`604800` (7 days)", "s", "≥ 60"),
        ("console_session_s", "`43200` (12 h)", "s", "≥ 60, ≤ 2,592,000"),
        ("outcome_wait_ms", "`5`", "ms", "≥ 0, ≤ 20"),
        ("ack", "`memory`", "", "`memory`, `fsync`, `replica`"),
        ("retry_schedule_s", "`5,30,120,600,3600,10800,28800,86400`", "s", ""),
        ("admin_key", "", "", ""),
        ("console", "`true`", "", ""),
        ("body_bytes_max", "`262144`", "bytes", "≥ 1,024"),
        ("user_rate_per_s", "`20`", "a second", "≥ 0, ≤ 100,000"),
    ],
)
def test_a_row_tells_default_unit_and_limits(name: str, default: str, unit: str, limits: str):
    field = Settings.model_fields[name]
    assert (default_of(name, field), unit_of(name), limits_of(field)) == (default, unit, limits)


def test_a_page_without_a_place_for_the_table_is_told():
    with pytest.raises(ValueError, match=BEGIN):
        with_table("A page.")
