"""compose.yaml and the Dockerfile: what they say fits the service, and the service runs by it.

There is no Docker here. The roles are started as compose.yaml would start them, with its commands,
environment and health checks, on a store with the options that it gives.
"""

import json
import os
import re
import shlex
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.request import urlopen

import pytest
import typer
import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.cli import cli
from app.commands.doctor import FILES_BESIDE_SOCKETS
from app.commands.environment import read_settings, variable
from app.errors import CommandRejected, UsageMistake
from app.metric_names import METRICS
from app.secret_files import FILE
from app.settings import SECRET_VARIABLES, Settings
from app.store.embedded import server_binary
from app.store.fitness import check_fitness
from tests.opened_store import opened
from tests.store_servers import TcpServer, free_ports
from tests.wait import block_until

ROOT = Path(__file__).parent.parent
ROLES = ("api", "gateway", "worker")
SERVICES = ("store", *ROLES)
SECRETS_AT = "/run/secrets/"
SECRETS_OF = {
    "store": {"store_password"},
    "api": {
        *("store_password", "admin_key", "token_secret", "token_keys"),
        *("secret_key", "secret_keys_old"),
    },
    "gateway": {"store_password", "token_secret", "token_keys"},
    "worker": {"store_password", "secret_key", "secret_keys_old", "egress_proxy"},
}
STORE_PORT = 6379
UNITS = {"s": 1, "m": 1024**2, "g": 1024**3, "mb": 1024**2, "gb": 1024**3}


def filled_in(text: str, given: Mapping[str, str]) -> str:
    """The text with its `${…}` and `$$` as Compose replaces them."""

    def value(match: re.Match[str]) -> str:
        name, rest = match[1], match[2]
        if given.get(name):
            return given[name]
        return rest

    filled = re.sub(r"(?<!\$)\$\{(\w+):-([^}]*)\}", value, text)
    assert "$" not in filled.replace("$$", "")
    return filled.replace("$$", "$")


def compose(given: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
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


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the first lines of compose.yaml make, made by them."""
    lines = (ROOT / "compose.yaml").read_text().splitlines()
    commented = [line.removeprefix("#     ") for line in lines if line.startswith("#     ")]
    folder = tmp_path_factory.mktemp("made")
    script = "\n".join(line for line in commented if not line.startswith("docker "))
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=folder, check=True)
    return folder / "secrets"


def settings_of(role: str, monkeypatch: pytest.MonkeyPatch, secrets: Path) -> Settings:
    for name in os.environ:
        if name.startswith(variable("")):
            monkeypatch.delenv(name)
    for name, value in {**image_environment(), **service(role)["environment"]}.items():
        if name.startswith(variable("")):
            monkeypatch.setenv(name, value.replace(SECRETS_AT, f"{secrets}/"))
    return read_settings()


def seconds(text: str) -> int:
    assert text.endswith("s")
    return int(text[:-1])


def size(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(\w+)", text).groups()
    return int(number) * UNITS[unit]


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_is_a_setting_and_has_a_value_that_it_takes(
    role: str, monkeypatch: pytest.MonkeyPatch, secrets: Path
) -> None:
    known = {variable(name) for name in Settings.model_fields}
    known |= {name + FILE for name in SECRET_VARIABLES.values()}
    given = {**image_environment(), **service(role)["environment"]}
    assert {name for name in given if name.startswith(variable(""))} <= known
    settings = settings_of(role, monkeypatch, secrets)
    assert settings.redis_url == f"redis://moments@store:{STORE_PORT}/0"
    assert settings.redis_password == (secrets / "store_password").read_text().strip()


@pytest.mark.parametrize("role", ROLES)
def test_every_role_is_a_command(role: str) -> None:
    [name] = service(role)["command"]
    assert name == role
    assert name in typer.main.get_command(cli).commands


def test_the_secrets_are_files_in_a_directory_that_nobody_else_can_enter(secrets: Path) -> None:
    declared = compose()["secrets"]
    assert {path.name for path in secrets.iterdir()} == set(declared)
    assert declared == {name: {"file": f"secrets/{name}"} for name in declared}
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    # The user of a container is none of this machine, and is given the file alone.
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets.iterdir()} == {0o444}
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_a_secret_that_is_missing_is_asked_for_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(UsageMistake, match=r"^MOMENTS_\w+_FILE: cannot read .*: make it"):
        settings_of("api", monkeypatch, tmp_path)


def test_every_service_has_no_more_secrets_than_it_uses() -> None:
    assert {name: set(service(name)["secrets"]) for name in SERVICES} == SECRETS_OF
    for role in ROLES:
        files = {
            value.removeprefix(SECRETS_AT)
            for name, value in service(role)["environment"].items()
            if name.endswith(FILE)
        }
        assert files == SECRETS_OF[role]


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_stands_in_an_environment_or_an_argument(name: str) -> None:
    one = service(name)
    assert set(SECRET_VARIABLES.values()) & set(one.get("environment", {})) <= {"MOMENTS_REDIS_URL"}
    assert not re.search(r"--(requirepass|user|masterauth)\b", " ".join(one["command"]))


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
    assert one["ulimits"].keys() == {"nofile"}
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


def test_the_image_holds_no_secret_and_nothing_to_install_more_with() -> None:
    names = {name for rest in arguments("ENV") for name in re.findall(r"(\w+)=", rest)}
    names |= {rest.split("=")[0] for rest in arguments("ARG")}
    assert not names & {*SECRET_VARIABLES.values()}
    assert not arguments("ADD")  # which fetches and unpacks
    assert all(not rest.startswith(". ") for rest in arguments("COPY"))
    assert "pip uninstall --yes setuptools pip" in arguments("RUN")[2]
    last = max(index for index, (word, _) in enumerate(dockerfile()) if word == "FROM")
    after = [word for word, _ in dockerfile()[last:]]
    assert after.index("USER") > after.index("RUN")  # nothing is made by the user that runs it


def test_only_api_and_gateway_can_be_called_and_only_from_this_machine(
    monkeypatch: pytest.MonkeyPatch, secrets: Path
) -> None:
    api, gateway = (settings_of(role, monkeypatch, secrets) for role in ("api", "gateway"))
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
    role: str, monkeypatch: pytest.MonkeyPatch, secrets: Path
) -> None:
    settings = settings_of(role, monkeypatch, secrets)
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
    shell, options, _, program, *words = service("store")["command"]
    assert (shell, options, program) == ("sh", "-euc", "valkey-server")
    names, values = words[::2], words[1::2]
    return {name.removeprefix("--"): value for name, value in zip(names, values, strict=True)}


class ComposedStore(TcpServer):
    """The store as compose.yaml starts it, with its files and its data elsewhere."""

    def __init__(self, directory: Path, port: int, secrets: Path) -> None:
        self.port, self.directory = port, directory
        [config] = service("store")["configs"]
        acl = ROOT / compose()["configs"][config["source"]]["file"]
        places = {
            SECRETS_AT: f"{secrets}/",
            config["target"]: str(acl),
            "/tmp/users.acl": str(directory / "users.acl"),
            "exec valkey-server": f"exec {server_binary()}",
        }
        command = service("store")["command"]
        for theirs, ours in places.items():
            command = [word.replace(theirs, ours) for word in command]
        command[command.index("--dir") + 1] = str(directory)
        self._run(directory, [*command, "--port", str(port)])


class Role:
    """A role as compose.yaml starts it, on ports of its own."""

    def __init__(self, name: str, ports: Mapping[int, int], secrets: Path, log: Path) -> None:
        self.log = log
        self._secrets = secrets
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

    @property
    def metrics_url(self) -> str:
        [url] = {*re.findall(r"http://\S+?(?=/\w)", " ".join(self._service["healthcheck"]["test"]))}
        return f"{self._moved(url)}/metrics"

    def _moved(self, text: str) -> str:
        """With the ports, and the host of the store, as they are here."""
        for theirs, ours in self._ports.items():
            text = re.sub(rf"\b{theirs}\b", str(ours), text)
        return text.replace("@store:", "@127.0.0.1:").replace(SECRETS_AT, f"{self._secrets}/")

    def is_healthy(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        kind, program, *words = self._service["healthcheck"]["test"]
        assert (kind, program) == ("CMD", "python")
        command = [sys.executable, *map(self._moved, words)]
        return subprocess.run(command, capture_output=True, timeout=10).returncode == 0


@pytest.fixture(scope="module")
def store_server(
    secrets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ComposedStore]:
    server = ComposedStore(tmp_path_factory.mktemp("compose"), *free_ports(1), secrets)
    block_until(server.answers)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def roles(
    store_server: ComposedStore, secrets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Role]]:
    logs = tmp_path_factory.mktemp("logs")
    here = dict(zip((8000, 8001, 8002), free_ports(3), strict=True))
    ports = {**here, STORE_PORT: store_server.port}
    started = {name: Role(name, ports, secrets, logs / name) for name in ROLES}
    try:
        yield started
    finally:
        for role in started.values():
            role.process.kill()
            role.process.wait(10)


async def test_the_store_it_describes_is_fit_and_knows_the_user_of_the_service(
    store_server: ComposedStore, secrets: Path
) -> None:
    password = (secrets / "store_password").read_text().strip()
    async with opened(f"redis://moments@{store_server.address}", password) as store:
        assert await check_fitness(store) == []
        with pytest.raises(CommandRejected, match="NOPERM"):
            await store.execute("FLUSHALL")
    async with opened(f"redis://{store_server.address}") as store:
        with pytest.raises(CommandRejected, match="NOPERM"):
            await store.execute("INFO")


def test_the_password_of_the_store_is_seen_in_nothing_of_its_process(
    store_server: ComposedStore, secrets: Path
) -> None:
    password = (secrets / "store_password").read_bytes().strip()
    for name in ("cmdline", "environ"):
        assert password not in Path(f"/proc/{store_server.process.pid}/{name}").read_bytes()
    assert password.decode() in (store_server.directory / "users.acl").read_text()
    assert stat.S_IMODE((store_server.directory / "users.acl").stat().st_mode) == 0o600


def test_its_health_check_of_the_store_hears_a_server_that_answers(
    store_server: ComposedStore, tmp_path: Path
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


@pytest.mark.parametrize("name", ROLES)
def test_a_role_tells_the_metrics_of_the_list_that_are_its_own(roles: dict[str, Role], name: str):
    block_until(roles[name].is_healthy, 50)
    with urlopen(roles[name].metrics_url, timeout=10) as answer:
        page = answer.read().decode()
    told = [
        family
        for family in text_string_to_metric_families(page)
        if family.name.startswith("moments_")
    ]
    listed = {m.name.removesuffix("_total"): m for m in METRICS if name in m.roles}
    assert {family.name for family in told} == listed.keys()
    for family in told:
        metric = listed[family.name]
        assert family.type == metric.kind
        for sample in family.samples:
            assert {*sample.labels} - {"le"} == {*metric.labels}, sample.name


def test_all_roles_stop_when_they_are_asked_to(roles: dict[str, Role]) -> None:
    for role in roles.values():
        block_until(role.is_healthy, 50)
        role.process.terminate()
    for name, role in roles.items():
        grace_s = seconds(service(name)["stop_grace_period"])
        assert role.process.wait(grace_s) == 0, role.log.read_text()
