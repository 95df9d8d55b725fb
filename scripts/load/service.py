"""The service under load: one that runs already, or our own, as real processes on a new store."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol, Self

from app.commands.children import Child, Role, command
from app.commands.data_dir import new_admin_key, new_secret_key, new_token_secret
from app.commands.environment import environment_of
from app.commands.probe import answers, free_ports
from app.commands.restart import RestartPolicy
from app.commands.signals import PARENT_PIPE
from app.errors import CommandFailed
from app.store.embedded import EmbeddedServer
from scripts.load.processes import descendants

HOST = "127.0.0.1"
START_MAX_S = 30.0
DRAIN_S = 5.0
_GRACE_S = DRAIN_S + 10.0
# One that dies under load has to be seen, not nursed.
_POLICY = RestartPolicy(first_s=1.0, failures_max=2)


class Service(Protocol):
    """`key` may do everything. `token_secret` is None when tokens have to be asked for.
    `incidents`: processes that ended, and the like."""

    @property
    def api(self) -> str: ...

    @property
    def key(self) -> str: ...

    @property
    def token_secret(self) -> str | None: ...

    @property
    def incidents(self) -> list[str]: ...

    @property
    def gateways(self) -> Sequence[str]:
        """ws:// addresses."""
        ...

    def pids(self) -> Mapping[str, int]:
        """The processes of the service by name, its store among them, as far as we can see them."""
        ...

    def workers(self) -> Sequence[int]:
        """Ports where workers tell their metrics."""
        ...


class GivenService:
    """One that runs already. `roots` are processes of it: they and their children are measured."""

    def __init__(self, api: str, gateways: Sequence[str], key: str, roots: Sequence[int]) -> None:
        self.api = api
        self.gateways = gateways
        self.key = key
        self.token_secret: str | None = None
        self.incidents: list[str] = []
        self._roots = roots

    def pids(self) -> Mapping[str, int]:
        return descendants(self._roots)

    def workers(self) -> Sequence[int]:
        return ()


@dataclass(slots=True)
class _LogFiles:
    """What each process says, in a file of its own."""

    directory: Path
    incidents: list[str] = field(default_factory=list[str])

    async def print(self, role: str, lines: list[str]) -> None:
        with (self.directory / f"{role}.log").open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    async def report(self, message: str, /, **fields: float) -> None:
        self.incidents.append(message)


class OwnService:
    """`async with OwnService(...)`: store, api and gateways are ready, and workers when `start`ed.

    All are gone when the block has ended.
    """

    def __init__(self, directory: Path, settings: Mapping[str, str], gateways: int) -> None:
        self.key = new_admin_key()
        self.token_secret: str | None = new_token_secret()
        self._store = EmbeddedServer(directory / "data")
        self._logs = _LogFiles(directory)
        self._secrets = {
            "admin_key": self.key,
            "token_secret": self.token_secret,
            "secret_key": new_secret_key(),
        }
        self._settings = {
            "allow_cidrs": "127.0.0.0/8",  # all receivers are on this machine
            "author_rate_per_s": "0",  # few authors send what comes of many elsewhere
            "log_format": "json",
            "drain_timeout_s": f"{DRAIN_S}",
            "goodbye_spread_s": "0.5",
            **settings,
        }
        port, *self._gateway_ports = free_ports(HOST, 1 + gateways)
        self.api = f"http://{HOST}:{port}"
        self._port = port
        self._members: dict[str, tuple[Child, asyncio.Task[None], int]] = {}

    @property
    def store_url(self) -> str:
        return self._store.url

    @property
    def incidents(self) -> list[str]:
        return self._logs.incidents

    @property
    def gateways(self) -> Sequence[str]:
        return [f"ws://{HOST}:{port}" for port in self._gateway_ports]

    def pids(self) -> Mapping[str, int]:
        found = {"store": self._store.pid}
        found |= {name: child.pid for name, (child, _, _) in self._members.items()}
        return {name: pid for name, pid in found.items() if pid is not None}

    def workers(self) -> Sequence[int]:
        return [port for _, _, port in self._members.values() if port]

    async def __aenter__(self) -> Self:
        try:
            await asyncio.to_thread(self._store.start)
            self._begin("api", command("api"), self._port, "port", "/healthz")
            for number, port in enumerate(self._gateway_ports, 1):
                name = f"gateway-{number}"
                self._begin(name, command("gateway"), port, "gateway_port", "/healthz")
            await self._ready(list(self._members))
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            for names in (["api"], [*self._members]):
                await self.stop(*names)
        finally:
            await asyncio.to_thread(self._store.stop)

    async def start(self, name: str, *roles: str) -> None:
        """Starts a worker, for all roles unless some are named, and waits until it is ready."""
        options = [part for role in roles for part in ("--role", role)]
        (port,) = free_ports(HOST, 1)
        self._begin(name, command("worker", *options), port, "ops_port", "/readyz")
        await self._ready([name])

    async def stop(self, *names: str) -> None:
        """Those that run, all at once."""
        leaving = [self._members.pop(name) for name in names if name in self._members]
        await asyncio.gather(*(child.stop(_GRACE_S) for child, _, _ in leaving))
        await asyncio.gather(*(task for _, task, _ in leaving), return_exceptions=True)

    def _begin(self, name: str, argv: tuple[str, ...], port: int, setting: str, ready: str) -> None:
        chosen = {
            **self._settings,
            **self._secrets,
            "host": HOST,
            "redis_url": self._store.url,
            setting: str(port),
        }
        environment = {**environment_of(chosen), PARENT_PIPE: "1"}
        role = Role(name, argv, environment, partial(answers, HOST, port, ready))
        child = Child(role, self._logs, _POLICY)
        task = asyncio.create_task(child.run(), name=name)
        self._members[name] = (child, task, port if setting == "ops_port" else 0)

    async def _ready(self, names: Sequence[str]) -> None:
        """Raises CommandFailed when one ends, or is not ready in time."""
        members = [self._members[name] for name in names]
        waits = [asyncio.ensure_future(child.ready.wait()) for child, _, _ in members]
        tasks = [task for _, task, _ in members]
        everybody = asyncio.gather(*waits)
        try:
            async with asyncio.timeout(START_MAX_S):
                await asyncio.wait({everybody, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            late = [child.name for child, _, _ in members if not child.ready.is_set()]
            raise CommandFailed(
                f"{', '.join(late)} not ready within {START_MAX_S:.0f} s; "
                f"see {self._logs.directory}"
            ) from None
        finally:
            everybody.cancel()
            await asyncio.gather(everybody, *waits, return_exceptions=True)
        for task in tasks:
            if task.done():
                task.result()
