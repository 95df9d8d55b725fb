"""deploy/prometheus: rules of metrics that there are, each tried out, each with what to do."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.metric_names import METRICS
from app.settings import Settings
from tests.promql import complaints

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
RULES = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
NAMES = [rule["alert"] for rule in RULES]
SECTIONS = {
    re.sub(r"[^\w -]", "", title).lower().replace(" ", "-"): text
    for title, text in re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", RUNBOOK, re.MULTILINE)
}
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None,
    reason="no promtool here to try the alert rules out with: apt-get install prometheus",
)


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_a_rule_asks_for_what_there_is_and_says_what_to_do(rule: dict[str, Any]):
    assert complaints(rule["expr"]) == []
    assert rule["alert"].startswith("Moments")
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"].keys() == {"summary", "runbook"}
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert page == "docs/runbook.md"
    section = SECTIONS[anchor]
    assert section.lstrip().startswith(f"`{rule['alert']}`:")
    assert re.search(r"^Look(?: and do)?: ", section, re.MULTILINE)
    assert re.search(r"^(?:Look and do|Do): ", section, re.MULTILINE)


def test_every_section_of_the_runbook_is_that_of_an_alert():
    anchors = {rule["annotations"]["runbook"].partition("#")[2] for rule in RULES}
    assert anchors == SECTIONS.keys()
    assert len(set(NAMES)) == len(NAMES)


def test_every_rule_is_seen_to_fire_and_not_to_fire():
    tests = yaml.safe_load((FOLDER / "tests.yml").read_text())["tests"]
    fires = {one["alertname"] for t in tests for one in t["alert_rule_test"] if one["exp_alerts"]}
    quiet = {
        one["alertname"] for t in tests for one in t["alert_rule_test"] if not one["exp_alerts"]
    }
    assert fires == quiet == set(NAMES)


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "tests.yml"),
        ("check", "config", "prometheus.yml"),
    ],
    ids=["rules", "tests", "config"],
)
def test_prometheus_takes_them(arguments: tuple[str, ...]):
    assert PROMTOOL is not None
    ran = subprocess.run(
        [PROMTOOL, *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_prometheus_scrapes_every_role_where_compose_has_it():
    scraped = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    found = {}
    for job in scraped:
        [discovery] = job["dns_sd_configs"]
        [name] = discovery["names"]
        assert job["job_name"] == f"moments-{name}"
        found[name] = str(discovery["port"])
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    variables = {"api": "PORT", "gateway": "GATEWAY_PORT", "worker": "OPS_PORT"}
    assert found == {
        name: services[name]["environment"][f"MOMENTS_{variable}"]
        for name, variable in variables.items()
    }


@pytest.mark.parametrize("page", ["runbook.md", "observability.md"])
def test_a_page_names_only_metrics_and_settings_that_there_are(page: str):
    text = (ROOT / "docs" / page).read_text()
    samples = {sample for metric in METRICS for sample in (metric.name, *metric.samples)}
    assert set(re.findall(r"\bmoments_[a-z_]+[a-z]\b", text)) <= samples
    settings = {f"MOMENTS_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"\bMOMENTS_[A-Z_]+[A-Z]\b", text)) <= settings
