"""compose.yaml and the Dockerfile: what they say fits the service, and the service runs by it.

There is no Docker here. The roles are started as compose.yaml would start them, with its commands,
environment and health checks, on a store with the options that it gives.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from app.cli import cli
from app.commands.data_dir import new_admin_key, new_secret_key, new_token_secret
from app.commands.doctor import FILES_BESIDE_SOCKETS
from app.commands.environment import read_settings, variable
from app.settings import Settings
from app.store.fitness import check_fitness
from tests.opened_store import opened
from tests.store_servers import TcpServer, free_ports
from tests.wait import block_until

ROOT = Path(__file__).parent.parent
ROLES = ("api", "gateway", "worker")
SERVICES = ("store", *ROLES)
SECRETS = {
    "MOMENTS_ADMIN_KEY": new_admin_key(),
    "MOMENTS_TOKEN_SECRET": new_token_secret(),
    "MOMENTS_SECRET_KEY": new_secret_key(),
}
STORE_PORT = 6379
UNITS = {"s": 1, "m": 1024**2, "g": 1024**3, "mb": 1024**2, "gb": 1024**3}


def filled_in(text: str, given: Mapping[str, str]) -> str:
    """The text with its `${…}` as Compose replaces them. Raises KeyError with the message."""

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match[1], match[2], match[3]
        if given.get(name):
            return given[name]
        if kind == ":?":
            raise KeyError(f"{name}: {rest}")
        return rest

    filled = re.sub(r"\$\{(\w+)(:\?|:-)([^}]*)\}", value, text)
    assert "$" not in filled
    return filled


def compose(given: Mapping[str, str] = SECRETS) -> dict[str, Any]:
    def fill(node: Any) -> Any:
        match node:
            case dict():
                return {key: fill(value) for key, value in node.items()}
            case list():
                return [fill(value) for value in node]
            case str():
                return filled_in(node, given)
            case _:
                return node

    return fill(yaml.safe_load((ROOT / "compose.yaml").read_text()))


def service(name: str) -> dict[str, Any]:
    return compose()["services"][name]


@cache
def dockerfile() -> list[tuple[str, str]]:
    """Its instructions and their arguments."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    joined = "\n".join(line for line in lines if not line.startswith("#")).replace("\\\n", " ")
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line]


def arguments(instruction: str) -> list[str]:
    return [rest for word, rest in dockerfile() if word == instruction]


def image_environment() -> dict[str, str]:
    """What the last stage sets; the first one only builds."""
    return dict(pair.split("=", 1) for pair in shlex.split(arguments("ENV")[-1]))


def settings_of(role: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in os.environ:
        if name.startswith(variable("")):
            monkeypatch.delenv(name)
    for name, value in {**image_environment(), **service(role)["environment"]}.items():
        if name.startswith(variable("")):
            monkeypatch.setenv(name, value)
    return read_settings()


def seconds(text: str) -> int:
    assert text.endswith("s")
    return int(text[:-1])


def size(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(\w+)", text).groups()
    return int(number) * UNITS[unit]


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_is_a_setting_and_has_a_value_that_it_takes(
    role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {variable(name) for name in Settings.model_fields}
    given = {**image_environment(), **service(role)["environment"]}
    assert {name for name in given if name.startswith(variable(""))} <= known
    assert settings_of(role, monkeypatch).redis_url == f"redis://store:{STORE_PORT}/0"


@pytest.mark.parametrize("role", ROLES)
def test_every_role_is_a_command(role: str) -> None:
    [name] = service(role)["command"]
    assert name == role
    assert name in typer.main.get_command(cli).commands


@pytest.mark.parametrize("missing", SECRETS)
def test_a_secret_that_is_missing_is_asked_for_by_name(missing: str) -> None:
    with pytest.raises(KeyError, match=rf"{missing}: set it to .*openssl rand"):
        compose({name: value for name, value in SECRETS.items() if name != missing})


def test_every_role_has_no_more_secrets_than_it_uses() -> None:
    given = {role: set(SECRETS) & set(service(role)["environment"]) for role in ROLES}
    assert given == {
        "api": set(SECRETS),
        "gateway": {"MOMENTS_TOKEN_SECRET"},
        "worker": {"MOMENTS_SECRET_KEY"},
    }


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_can_do_more_than_it_has_to(name: str) -> None:
    one = service(name)
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert one.keys().isdisjoint({"privileged", "cap_add", "network_mode", "pid", "devices"})
    assert all("noexec" in mount for mount in one["tmpfs"])
    limits = one["deploy"]["resources"]["limits"]
    assert limits.keys() == {"cpus", "memory", "pids"}
    assert one["logging"]["options"].keys() == {"max-size", "max-file"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_comes_back_and_says_how_it_is(name: str) -> None:
    one = service(name)
    assert one["restart"] == "unless-stopped"
    assert one["init"] is True
    assert one["healthcheck"]["retries"] >= 2
    if name != "store":
        assert one["depends_on"] == {"store": {"condition": "service_healthy"}}


def test_nobody_is_root() -> None:
    user = arguments("USER")[-1]
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)
    assert all("user" not in service(role) for role in ROLES)
    assert service("store")["user"] == "valkey"


def test_only_api_and_gateway_can_be_called_and_only_from_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api, gateway = (settings_of(role, monkeypatch) for role in ("api", "gateway"))
    published = {name: service(name).get("ports", []) for name in SERVICES}
    assert published == {
        "store": [],
        "api": [f"127.0.0.1:8000:{api.port}"],
        "gateway": [f"127.0.0.1:8001:{gateway.gateway_port}"],
        "worker": [],
    }
    assert api.host == gateway.host == "0.0.0.0"  # of the container
    assert set(arguments("EXPOSE")[0].split()) == {str(api.port), str(gateway.gateway_port)}
    assert service("store")["networks"] == ["inside"]
    assert compose()["networks"]["inside"] == {"internal": True}


def test_what_the_store_keeps_is_on_a_volume_and_fits_its_memory() -> None:
    store = service("store")
    options = store_options()
    assert store["volumes"] == [f"store:{options['dir']}"]
    assert "store" in compose()["volumes"]
    assert size(options["maxmemory"]) < 0.6 * size(store["deploy"]["resources"]["limits"]["memory"])
    assert re.fullmatch(r"valkey/valkey:\d+\.\d+", store["image"])


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_the_time_and_the_files_it_may_need(
    role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(role, monkeypatch)
    goodbye_s = settings.goodbye_spread_s if role == "gateway" else 0
    grace_s = seconds(service(role)["stop_grace_period"])
    assert grace_s >= settings.drain_timeout_s + goodbye_s + 5
    assert service(role)["ulimits"]["nofile"] >= settings.sockets_max + FILES_BESIDE_SOCKETS


def test_the_builder_is_sent_what_is_copied_and_nothing_else() -> None:
    copied = {
        source
        for rest in arguments("COPY")
        if not rest.startswith("--from=")
        for source in rest.split()[:-1]
    }
    ignored, *sent = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert ignored == "*"
    assert {line[1:] for line in sent if line.startswith("!")} == copied
    assert all((ROOT / source).exists() for source in copied)


def test_the_image_holds_what_the_lock_says_and_starts_the_command_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [first, last] = [rest for rest in arguments("RUN") if "pip install" in rest]
    assert "--require-hashes --no-deps -r requirements-runtime.lock" in first
    assert "--no-build-isolation --no-deps ." in last
    assert all(re.match(r"python:3\.11-slim-\w+", rest) for rest in arguments("FROM"))
    [entry] = json.loads(arguments("ENTRYPOINT")[0])
    assert entry in project["scripts"]


def store_options() -> dict[str, str]:
    program, *words = service("store")["command"]
    assert program == "valkey-server"
    names, values = words[::2], words[1::2]
    return {name.removeprefix("--"): value for name, value in zip(names, values, strict=True)}


class Role:
    """A role as compose.yaml starts it, on ports of its own."""

    def __init__(self, name: str, ports: Mapping[int, int], log: Path) -> None:
        self.log = log
        self._ports = ports
        self._service = service(name)
        environment = {**image_environment(), **self._service["environment"]}
        environment.pop("PATH")
        self.environment = {name: self._moved(value) for name, value in environment.items()}
        command = [sys.executable, "-m", "app.cli", *self._service["command"]]
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stderr=out
            )

    def _moved(self, text: str) -> str:
        """With the ports, and the host of the store, as they are here."""
        for theirs, ours in self._ports.items():
            text = re.sub(rf"\b{theirs}\b", str(ours), text)
        return text.replace("//store:", "//127.0.0.1:")

    def is_healthy(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        kind, program, *words = self._service["healthcheck"]["test"]
        assert (kind, program) == ("CMD", "python")
        command = [sys.executable, *map(self._moved, words)]
        return subprocess.run(command, capture_output=True, timeout=10).returncode == 0


@pytest.fixture(scope="module")
def store_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TcpServer]:
    """A server with the options of the store, and its data elsewhere."""
    options = {name.replace("-", "_"): value for name, value in store_options().items()}
    del options["dir"]
    server = TcpServer(tmp_path_factory.mktemp("compose"), *free_ports(1), **options)
    block_until(server.answers)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def roles(
    store_server: TcpServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Role]]:
    logs = tmp_path_factory.mktemp("logs")
    here = dict(zip((8000, 8001, 8002), free_ports(3), strict=True))
    ports = {**here, STORE_PORT: store_server.port}
    started = {name: Role(name, ports, logs / name) for name in ROLES}
    try:
        yield started
    finally:
        for role in started.values():
            role.process.kill()
            role.process.wait(10)


async def test_the_store_it_describes_is_fit(store_server: TcpServer) -> None:
    async with opened(f"redis://{store_server.address}") as store:
        assert await check_fitness(store) == []


def test_its_health_check_of_the_store_hears_a_server_that_answers(
    store_server: TcpServer, tmp_path: Path
) -> None:
    """The bundled `valkey-cli`, if any, is not needed: the answer is what the check reads."""
    kind, check = service("store")["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    stand_in = tmp_path / "valkey-cli"
    for answer, expected in (("PONG", 0), ("LOADING reading the log", 1)):
        stand_in.write_text(f"#!/bin/sh\ntest $1 = ping && echo {answer}\n")
        stand_in.chmod(0o755)
        path = f"{tmp_path}:{os.environ['PATH']}"
        assert subprocess.run(["sh", "-c", check], env={"PATH": path}).returncode == expected


def test_all_roles_become_healthy_and_the_doctor_agrees(roles: dict[str, Role]) -> None:
    for role in roles.values():
        block_until(role.is_healthy, 50)
    checked = subprocess.run(
        [sys.executable, "-m", "app.cli", "doctor"],
        cwd=ROOT,
        env=roles["api"].environment,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout


def test_all_roles_stop_when_they_are_asked_to(roles: dict[str, Role]) -> None:
    for role in roles.values():
        block_until(role.is_healthy, 50)
        role.process.terminate()
    for name, role in roles.items():
        grace_s = seconds(service(name)["stop_grace_period"])
        assert role.process.wait(grace_s) == 0, role.log.read_text()
