"""`moments up`: store, api, gateway and workers as real processes, started and stopped in order."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.commands.bundled_store import BundledStore
from app.commands.children import Child, Role, command
from app.commands.crew import Crew, Stage
from app.commands.data_dir import (
    ADMIN_KEY,
    SECRET_KEY,
    TOKEN_SECRET,
    DataDir,
    Secret,
    new_admin_key,
    new_secret_key,
    new_token_secret,
)
from app.commands.environment import read_settings, variable
from app.commands.probe import answers, claim_port, free_ports
from app.commands.signals import PARENT_PIPE
from app.commands.summary import Summary
from app.commands.terminal import Printer, say
from app.log import resolve, wants_colour
from app.secret_files import FILE
from app.settings import Settings
from app.store.embedded import STOP_TIMEOUT_S, EmbeddedServer
from app.tokens import has_token_keys

_KILL_AFTER_S = 5.0  # beyond what a role may take to drain


@dataclass(frozen=True, slots=True)
class Options:
    """What `moments up` was asked for; None stands for the setting."""

    data: Path
    host: str | None = None
    port: int | None = None
    gateway_port: int | None = None
    workers: int = 1
    gateway: bool = True


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secrets all children share; each None when a setting brings it."""

    admin_key: Secret | None
    token_secret: Secret | None
    secret_key: Secret | None

    @classmethod
    def of(cls, data: DataDir, settings: Settings) -> "Secrets":
        """From the settings, else from the data directory, where they are made when missing.

        With another key for tokens no secret is made: it would let in tokens of another maker.
        """
        return cls(
            None if settings.admin_key else data.secret(ADMIN_KEY, new_admin_key),
            None if has_token_keys(settings) else data.secret(TOKEN_SECRET, new_token_secret),
            None if settings.secret_key else data.secret(SECRET_KEY, new_secret_key),
        )

    def environment(self) -> dict[str, str]:
        secrets = {
            "admin_key": self.admin_key,
            "token_secret": self.token_secret,
            "secret_key": self.secret_key,
        }
        return {variable(name): secret.text for name, secret in secrets.items() if secret}


def claim_ports(options: Options, settings: Settings) -> Settings:
    """The settings with the ports that will be used. Raises UsageMistake when one is taken."""
    ports = {"port": claim_port(settings.host, settings.port, "--port")}
    if options.gateway:
        gateway_port = claim_port(settings.host, settings.gateway_port, "--gateway-port")
        ports["gateway_port"] = gateway_port
    return settings.model_copy(update=ports)


def children_environment(settings: Settings, secrets: Secrets) -> dict[str, str]:
    """What every child finds in its environment: ours, and what was decided here."""
    decided = {
        variable("host"): settings.host,
        variable("port"): str(settings.port),
        variable("gateway_port"): str(settings.gateway_port),
        variable("log_format"): resolve(settings.log_format, sys.stderr),
        PARENT_PIPE: "1",
    }
    if wants_colour(sys.stderr):
        decided["FORCE_COLOR"] = "1"
    if not os.environ.get(variable("redis_url") + FILE):  # what stands in a file stays there
        decided[variable("redis_url")] = settings.redis_url
    replaced: set[str] = set()
    if settings.redis_password is None:  # the bundled server has none, whatever was set
        replaced = {variable("redis_password"), variable("redis_password") + FILE}
    ours = {name: value for name, value in os.environ.items() if name not in replaced}
    return {**ours, **decided, **secrets.environment()}


def plan_roles(
    options: Options, settings: Settings, environment: Mapping[str, str]
) -> list[list[Role]]:
    """The children in the order in which they stop: no new posts first, then what moves them."""
    # Without a worker nothing moves the canary, and nothing would ever be ready.
    path = "/readyz" if options.workers else "/healthz"

    def role(name: str, command_: str, port: int, **more: str) -> Role:
        ready = partial(answers, settings.host, port, path)
        return Role(name, command(command_), {**environment, **more}, ready)

    ops_ports = free_ports(settings.host, options.workers)
    # Pages find the sockets on the host that they are fetched from, unless a setting says where.
    is_known = options.gateway and settings.socket_port == 0
    sockets = {variable("socket_port"): str(settings.gateway_port)} if is_known else {}
    return [
        [role("api", "api", settings.port, **sockets)],
        [role("gateway", "gateway", settings.gateway_port)] if options.gateway else [],
        [
            role(f"worker-{number}", "worker", port, **{variable("ops_port"): str(port)})
            for number, port in enumerate(ops_ports, 1)
        ],
    ]


def graces_s(settings: Settings) -> tuple[float, float, float]:
    """How long api, gateway and workers may take to end before they are killed."""
    drain_s = settings.drain_timeout_s + _KILL_AFTER_S
    return drain_s, drain_s + settings.goodbye_spread_s, drain_s


class _Stop:
    """The first signal asks for an ordered stop, the second one ends everything at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.forced = asyncio.Event()

    def listen(self) -> None:
        loop = asyncio.get_running_loop()
        signals = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
            signals.append(signal.SIGHUP)
        for number in signals:
            loop.add_signal_handler(number, self._hear)

    def _hear(self) -> None:
        if self.asked.is_set():
            self.forced.set()
        self.asked.set()


async def up(options: Options) -> None:
    """Runs until a signal asks to stop. Raises CommandFailed when it cannot start, or go on."""
    settings = read_settings(
        host=options.host, port=options.port, gateway_port=options.gateway_port
    )
    settings = claim_ports(options, settings)
    data = DataDir(options.data)
    data.open()
    try:
        await _Up(options, settings, data).run()
    finally:
        data.close()


class _Up:
    """One run of everything."""

    def __init__(self, options: Options, settings: Settings, data: DataDir) -> None:
        self._options = options
        self._settings = settings
        self._data = data.path
        self._secrets = Secrets.of(data, settings)
        self._stop = _Stop()
        as_json = resolve(settings.log_format, sys.stderr) == "json"
        asked = self._stop.asked
        self._printer = Printer(sys.stderr, as_json=as_json, on_unread=asked.set)

    async def run(self) -> None:
        self._stop.listen()
        if "redis_url" in self._settings.model_fields_set:
            await self._run(self._settings)
        else:
            await self._run_with_store()

    async def _run_with_store(self) -> None:
        # What `fsync` promises, this server keeps only when it syncs before it answers.
        appendfsync = "always" if self._settings.ack == "fsync" else "everysec"
        server = EmbeddedServer(self._data, appendfsync=appendfsync)
        store = BundledStore(server, self._printer.report)
        try:
            url = await store.start(self._stop.asked)
            if url is not None:
                store_of_ours = {"redis_url": url, "redis_password": None}
                settings = self._settings.model_copy(update=store_of_ours)
                await self._run(settings, Stage([store], STOP_TIMEOUT_S))
        finally:
            await store.stop(STOP_TIMEOUT_S)

    async def _run(self, settings: Settings, *last: Stage) -> None:
        environment = children_environment(settings, self._secrets)
        roles = plan_roles(self._options, settings, environment)
        stages = [
            Stage([Child(role, self._printer) for role in stage], grace_s)
            for stage, grace_s in zip(roles, graces_s(settings), strict=True)
        ]
        summary = self._summary(settings)

        async def announce() -> None:
            with suppress(BrokenPipeError):  # then nobody wants to know
                await asyncio.to_thread(say, summary.text())

        crew = Crew([*stages, *last], self._printer.report)
        await crew.run(self._stop.asked, self._stop.forced, announce)

    def _summary(self, settings: Settings) -> Summary:
        options, admin_key = self._options, self._secrets.admin_key
        return Summary(settings, self._data, options.workers, options.gateway, admin_key)
