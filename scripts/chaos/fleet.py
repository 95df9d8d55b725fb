"""The service under test: processes of every role, each kept running, each to be hit by name."""

import asyncio
import os
import random
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from app.commands.children import Child, command
from app.commands.children import Role as ChildRole
from app.commands.data_dir import new_admin_key, new_secret_key, new_token_secret
from app.commands.environment import environment_of
from app.commands.probe import answers, claim_port
from app.commands.restart import RestartPolicy
from app.commands.signals import PARENT_PIPE
from app.errors import CommandFailed, UsageMistake
from scripts.chaos.plan import COUNTS, Act, Role

HOST = "127.0.0.1"
START_MAX_S = 60.0
# Below those that the system gives to connections: one of these stays free while its process is
# away.
PORTS = range(20_000, 32_000)
LOG_BYTES_MAX = 64 * 1024 * 1024
# Whoever is killed is back soon, however often that happens.
POLICY = RestartPolicy(first_s=0.2, longest_s=0.5, failures_max=1_000)
WORKERS = (Role.FANOUT, Role.SENDER, Role.JANITOR)
_STOPS = ((Role.API,), (Role.GATEWAY,), WORKERS)  # in this order


class StoreUnderTest(Protocol):
    """What the service keeps everything in."""

    fails_over: bool  # to a replica, when it is hit

    @property
    def url(self) -> str: ...

    async def start(self) -> None:
        """Starts it, and waits until it answers."""
        ...

    async def hit(self, act: Act, hold_s: float) -> None:
        """Does that to it. Returns when it is over, and all is as it was before."""
        ...

    async def stop(self) -> None: ...


class LogFiles:
    """One file for each process. What one says beyond `LOG_BYTES_MAX` is not kept."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    async def print(self, role: str, lines: list[str]) -> None:
        path = self.directory / f"{role}.log"
        if not path.exists() or path.stat().st_size < LOG_BYTES_MAX:
            with path.open("a") as file:
                file.writelines(f"{line}\n" for line in lines)

    async def report(self, message: str, /, **fields: float) -> None:
        await self.print("fleet", [f"{message} {fields}"])


@dataclass(frozen=True, slots=True)
class Member:
    name: str
    role: Role
    port: int
    child: Child
    task: asyncio.Task[None]


class Fleet:
    """`async with Fleet(...)`: all are ready when the block begins, and gone when it has ended."""

    def __init__(
        self,
        directory: Path,
        store: StoreUnderTest,
        settings: Mapping[str, str],
        *,
        drain_s: float,
        counts: Mapping[Role, int] = COUNTS,
    ) -> None:
        self.store = store
        self._counts = counts
        self.members: dict[str, Member] = {}
        self.admin_key = new_admin_key()
        self._logs = LogFiles(directory / "logs")
        self._grace_s = drain_s + 5.0
        self._stopped: set[str] = set()
        self._secrets = {
            "admin_key": self.admin_key,
            "token_secret": new_token_secret(),
            "secret_key": new_secret_key(),
        }
        self._settings = {**settings, "host": HOST, "drain_timeout_s": f"{drain_s}"}

    @property
    def apis(self) -> list[str]:
        return [f"http://{HOST}:{port}" for port in self._ports(Role.API)]

    @property
    def gateways(self) -> list[str]:
        return [f"ws://{HOST}:{port}" for port in self._ports(Role.GATEWAY)]

    def workers(self, role: Role) -> list[str]:
        """Where they tell their metrics."""
        return [f"http://{HOST}:{port}" for port in self._ports(role)]

    def _ports(self, role: Role) -> list[int]:
        return [member.port for member in self.members.values() if member.role is role]

    async def __aenter__(self) -> "Fleet":
        try:
            await self.store.start()
            for role, count in self._counts.items():
                for number in range(1, count + 1):
                    self.add(f"{role}-{number}", role)
            await self.await_ready()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Ends everything, whatever has become of it."""
        try:
            await asyncio.shield(asyncio.ensure_future(self._end()))
        except asyncio.CancelledError:  # asked once more: at once, then
            for member in self.members.values():
                member.child.kill()
            raise
        finally:
            await self.store.stop()

    async def _end(self) -> None:
        for name in list(self._stopped):
            self.go_on(name)
        for roles in _STOPS:
            leaving = [member for member in self.members.values() if member.role in roles]
            await asyncio.gather(*(self.remove(member.name) for member in leaving))

    async def await_ready(self) -> None:
        """Raises CommandFailed when one is not ready in time."""
        waits = [member.child.ready.wait() for member in self.members.values()]
        try:
            async with asyncio.timeout(START_MAX_S):
                await asyncio.gather(*waits)
        except TimeoutError:
            late = [name for name, one in self.members.items() if not one.child.ready.is_set()]
            raise CommandFailed(
                f"{', '.join(late)} not ready within {START_MAX_S:.0f} s; "
                f"what they said is in {self._logs.directory}"
            ) from None

    # What may be done to its members

    def add(self, name: str, role: Role) -> None:
        port = free_port()
        ready = partial(answers, HOST, port, "/readyz")
        child = Child(
            ChildRole(name, _argv(role), self._env(role, port), ready), self._logs, POLICY
        )
        task = asyncio.create_task(child.run(), name=name)
        self.members[name] = Member(name, role, port, child, task)

    async def remove(self, name: str) -> bool:
        """Stops one for good; False when it had to be killed."""
        member = self.members.pop(name)
        began = asyncio.get_running_loop().time()
        await member.child.stop(self._grace_s)
        await member.task
        return asyncio.get_running_loop().time() - began < self._grace_s

    def send(self, name: str, number: signal.Signals) -> bool:
        """Sends a signal to one that lives; False when there is none at this moment."""
        pid = self.members[name].child.pid
        if pid is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        return True

    def halt(self, name: str) -> bool:
        self._stopped.add(name)
        return self.send(name, signal.SIGSTOP)

    def go_on(self, name: str) -> None:
        self._stopped.discard(name)
        self.send(name, signal.SIGCONT)

    def _env(self, role: Role, port: int) -> Mapping[str, str]:
        name = {Role.API: "port", Role.GATEWAY: "gateway_port"}.get(role, "ops_port")
        decided = {"redis_url": self.store.url, "log_format": "json", name: str(port)}
        chosen = {**self._settings, **self._secrets, **decided}
        return {**environment_of(chosen), PARENT_PIPE: "1"}


def _argv(role: Role) -> tuple[str, ...]:
    if role in WORKERS:
        return command("worker", "--role", role)
    return command(role)


def free_port() -> int:
    """A port that nobody listens on now, and that no connection will be given."""
    for port in random.sample(PORTS, 100):
        with suppress(UsageMistake):
            return claim_port(HOST, port, "another")
    raise CommandFailed(f"no free port from {PORTS.start} to {PORTS.stop - 1}")
