"""The profile `observe` of compose.yaml: Prometheus and Grafana beside the service."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
NAMES = ("prometheus", "grafana")


def service(name: str) -> dict[str, Any]:
    return COMPOSE["services"][name]


def test_they_come_only_when_they_are_asked_for():
    asked = {name for name, one in COMPOSE["services"].items() if "profiles" in one}
    assert asked == set(NAMES)
    assert all(service(name)["profiles"] == ["observe"] for name in NAMES)
    others = [one for name, one in COMPOSE["services"].items() if name not in NAMES]
    assert all(not asked & set(one.get("depends_on", {})) for one in others)


@pytest.mark.parametrize("name", NAMES)
def test_none_of_them_can_do_more_than_it_has_to(name: str):
    one = service(name)
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert one["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
    assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", one["image"])
    # What has to stay is on a volume of its own.
    [volume] = one["volumes"]
    assert volume.partition(":")[0] in COMPOSE["volumes"]


def test_only_grafana_can_be_called_and_only_from_this_machine():
    assert "ports" not in service("prometheus")
    assert service("prometheus")["networks"] == ["inside"]
    assert service("grafana")["ports"] == ["127.0.0.1:3000:3000"]


def test_its_password_is_a_file():
    environment = service("grafana")["environment"]
    assert environment["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/run/secrets/grafana_password"
    assert not [name for name in environment if name.endswith("PASSWORD")]
    assert service("grafana")["secrets"] == ["grafana_password"]
    assert "grafana_password" in COMPOSE["secrets"]


@pytest.mark.parametrize("name", NAMES)
def test_every_file_it_is_given_is_there(name: str):
    for config in service(name)["configs"]:
        assert (ROOT / COMPOSE["configs"][config["source"]]["file"]).is_file()


def test_prometheus_finds_its_rules_beside_its_configuration():
    targets = {config["source"]: config["target"] for config in service("prometheus")["configs"]}
    assert f"--config.file={targets['prometheus']}" in service("prometheus")["command"]
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    [rules] = config["rule_files"]
    assert str(Path(targets["prometheus"]).parent / rules) == targets["alerts"]
