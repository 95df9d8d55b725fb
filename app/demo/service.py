"""The service as the demo runs it: `moments up` on a store of its own, its lines kept in a file."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.commands.api_client import ApiClient
from app.commands.children import command, how_it_ended
from app.commands.data_dir import ADMIN_KEY, read_secret
from app.commands.environment import environment_of
from app.commands.probe import answers, authority, free_ports
from app.errors import CommandFailed

HOST = "127.0.0.1"
START_MAX_S = 20.0
STOP_MAX_S = 20.0
_LOOK_EVERY_S = 0.05
_LAST_WORDS = 5

RETRY_SCHEDULE_S = (0.5, 1.0, 2.0)

# What takes minutes or hours for real, in seconds. Only receivers on this machine are called.
_SETTINGS = {
    "allow_cidrs": "127.0.0.0/8",
    "retry_schedule_s": ",".join(map(str, RETRY_SCHEDULE_S)),
    "request_deadline_s": "2",
    "breaker_open_s": "1",
    "pause_max_s": "1",
    "goodbye_spread_s": "0.5",
    "log_format": "json",
}


@dataclass(frozen=True, slots=True)
class Service:
    api: ApiClient
    gateway: str  # ws://HOST:PORT
    log: Path


class RunningService:
    """`async with RunningService(directory) as service`. Raises CommandFailed when it does not
    start, or did not stop as it should. `settings` are changes to the demo's."""

    def __init__(self, directory: Path, settings: Mapping[str, str] | None = None) -> None:
        self._data = directory / "data"
        self._log = directory / "service.log"
        self._settings = {**_SETTINGS, **(settings or {})}
        self._port, self._gateway_port = free_ports(HOST, 2)

    async def __aenter__(self) -> Service:
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command("up", "--data", str(self._data)),
                env=self._environment(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            await self._await_ready()
        except BaseException:
            await self._end()
            raise
        key = read_secret(self._data / ADMIN_KEY)
        return Service(
            ApiClient(f"http://{authority(HOST, self._port)}", key),
            f"ws://{authority(HOST, self._gateway_port)}",
            self._log,
        )

    async def __aexit__(self, *_: object) -> None:
        code = await self._end()
        if code != 0:
            raise CommandFailed(f"the service ended with {how_it_ended(code)}; see {self._log}")

    async def _await_ready(self) -> None:
        ports = (self._port, self._gateway_port)
        try:
            async with asyncio.timeout(START_MAX_S):
                for port in ports:
                    while not await answers(HOST, port, "/readyz"):
                        if self._process.returncode is not None:
                            raise CommandFailed(f"the service did not start{self._last_words()}")
                        await asyncio.sleep(_LOOK_EVERY_S)
        except TimeoutError:
            raise CommandFailed(
                f"the service was not ready within {START_MAX_S:.0f} s{self._last_words()}"
            ) from None

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-_LAST_WORDS:]
        return "".join(f"\n    {line}" for line in ("; its last words:", *lines) if line)

    async def _end(self) -> int:
        """Asks it to stop; kills it when it does not."""
        if self._process.returncode is None:
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_MAX_S):
                return await self._process.wait()
        except TimeoutError:
            self._process.kill()
            return await self._process.wait()

    def _environment(self) -> Mapping[str, str]:
        ports = {"port": str(self._port), "gateway_port": str(self._gateway_port)}
        return environment_of({**self._settings, "host": HOST, **ports})
