"""deploy/grafana: a dashboard that Grafana can load, of metrics that there are."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.dashboard.grafana import text
from scripts.dashboard.panels import ROWS
from tests.promql import complaints, metric_of, parse

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"
DASHBOARD = json.loads((GRAFANA / "moments.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [query for row in ROWS for panel in row.panels for query in panel.queries]


def test_the_dashboard_is_made_of_the_list_of_panels():
    assert (GRAFANA / "moments.json").read_text() == text(), (
        "run: python -m scripts.dashboard --write deploy/grafana/moments.json"
    )


@pytest.mark.parametrize("query", QUERIES, ids=[query.expr for query in QUERIES])
def test_a_query_asks_for_what_there_is(query: Any):
    assert complaints(query.expr) == []
    # What a legend names has to be there to tell series apart by.
    assert set(re.findall(r"{{(\w+)}}", query.legend)) <= parse(query.expr).groups


def test_counters_are_only_shown_as_rates():
    for query in QUERIES:
        for name, _ in parse(query.expr).series:
            is_total = name.endswith(("_total", "_bucket", "_sum", "_count"))
            assert is_total == (f"rate({name}" in query.expr), query.expr


def test_a_unit_is_that_of_what_is_shown():
    units = {"s": "seconds", "bytes": "bytes", "short": ""}
    for row in ROWS:
        for panel in row.panels:
            metrics = [metric_of(name) for q in panel.queries for name, _ in parse(q.expr).series]
            for metric in filter(None, metrics):
                if panel.unit in units and not metric.name.endswith("_total"):
                    assert metric.unit == units[panel.unit], panel.title


def test_every_part_of_the_service_has_its_row():
    titles = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert titles == [
        *("Overview", "Posts and fan-out", "Webhooks", "Sockets"),
        *("Retries and dead letters", "Store", "Processes"),
    ]


def test_grafana_finds_in_it_what_it_needs():
    """As its documentation of the JSON model has it; Grafana itself is not asked."""
    assert DASHBOARD["uid"]
    assert re.fullmatch(r"[\w-]{1,40}", DASHBOARD["uid"])
    assert DASHBOARD["schemaVersion"] >= 36
    assert "id" not in DASHBOARD  # that of another installation
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    [variable] = DASHBOARD["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    source = {"type": "prometheus", "uid": "${" + variable["name"] + "}"}
    for panel in PANELS:
        assert panel["datasource"] == source
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        names = [target["refId"] for target in panel["targets"]]
        assert names == sorted(set(names))
        assert all(target["datasource"] == source for target in panel["targets"])


def test_no_panel_lies_on_another_and_all_are_in_the_grid():
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert 0 <= place["x"] <= place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_what_grafana_is_provisioned_with_leads_to_the_dashboard_and_to_prometheus():
    folder = GRAFANA / "provisioning"
    [source] = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    assert (source["type"], source["access"], source["isDefault"]) == ("prometheus", "proxy", True)
    [provider] = yaml.safe_load((folder / "dashboards" / "moments.yml").read_text())["providers"]
    assert provider["type"] == "file"
    services = yaml.safe_load((GRAFANA.parents[1] / "compose.yaml").read_text())["services"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in services
    mounted = {config["target"] for config in services["grafana"]["configs"]}
    assert f"{provider['options']['path']}/moments.json" in mounted
